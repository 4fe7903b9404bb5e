"""A task's own words, out of a log that Argo, KFP's launcher and its executor write into as well."""

from pipelines.cluster.logs import own_lines

LOG = """\
time=2026-11-25T00:30:40.891Z level=INFO msg="capturing logs" argo=true
I1125 00:30:41.057588      14 main.go:67] Setting log level to: '1'
[KFP Executor 2026-11-25 00:30:41,654 INFO]: Looking for component `hello` in --component_module_path `/tmp/x.py`
[KFP Executor 2026-11-25 00:30:41,656 INFO]: Got executor_input:
{
    "inputs": {
        "parameterValues": {
            "seconds": 1
        }
    }
}
step 1 of 40, loss 3.21
{"a": 1}
I have 2 datasets
I1125 00:30:42.414923      16 launcher_v2.go:1230] ExecutorOutput: {
  "parameterValues": {}
}
a reason in one sentence
E1125 00:30:42.678999      14 launcher_v2.go:449] Component failed to execute successfully: exit status 1
F1125 00:30:42.717441      14 main.go:59] failed to execute component: exit status 1
time=2026-11-25T00:30:42.895Z level=INFO msg="sub-process exited" argo=true error="exit status 1"
Error: exit status 1
"""


def test_only_what_the_component_printed_is_left():
    assert list(own_lines(LOG.splitlines())) == [
        "step 1 of 40, loss 3.21",
        '{"a": 1}',
        "I have 2 datasets",
        "a reason in one sentence",
    ]

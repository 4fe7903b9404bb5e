"""The compiled pipelines are up to date and keep to what the real Kubeflow backend can do (not all that kfp.local can)."""

import re
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import yaml

from components import images
from components.shared import platform
from pipelines import compile as compiling
from pipelines import family, train


class Compiled:
    """A committed pipeline and its parts."""

    def __init__(self, source: ModuleType):
        self.name, self.choices = source.NAME, source.CHOICES
        self.text = (compiling.COMPILED / f"{source.NAME}.yaml").read_text()
        self.ir, self.platform = yaml.safe_load_all(self.text)
        self.components: dict[str, Any] = self.ir["components"]
        self.executors = {name: one["container"] for name, one in self.ir["deploymentSpec"]["executors"].items()}
        self.parameters = self.ir["root"]["inputDefinitions"]["parameters"]

    def dags(self) -> Iterator[dict[str, Any]]:
        """The root's DAG and all below it."""
        yield self.ir["root"]["dag"]
        yield from (one["dag"] for one in self.components.values() if "dag" in one)

    def tasks(self) -> Iterator[dict[str, Any]]:
        for dag in self.dags():
            yield from dag["tasks"].values()


PIPELINES = {"train": Compiled(train), "family": Compiled(family)}


@pytest.fixture(params=PIPELINES)
def compiled(request) -> Compiled:
    return PIPELINES[request.param]


def test_generated_files_are_up_to_date():
    assert compiling.out_of_date() == []


def test_a_stale_file_is_named_in_one_sentence_with_the_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compiling, "COMPILED", tmp_path)
    monkeypatch.setattr(compiling, "HERE", tmp_path)
    monkeypatch.setattr(compiling, "SCHEMAS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["compile", "--check"])
    with pytest.raises(SystemExit) as ended:
        compiling.main()
    assert str(ended.value).endswith("out of date; run: make golden, and commit the result.")
    for name in ("sphinx-x-train.yaml", "sphinx-x-family.yaml"):
        assert name in str(ended.value)


def test_a_file_that_nobody_generates_any_more_is_stale():
    stray = compiling.SCHEMAS / "stray.schema.json"
    stray.write_text("{}")
    try:
        assert compiling.out_of_date() == [stray]
    finally:
        stray.unlink()


def test_a_closed_choice_is_a_dropdown_whose_default_is_one_of_its_values(compiled):
    for name, values in compiled.choices.items():
        assert compiled.parameters[name]["literals"] == list(values)
        assert compiled.parameters[name]["defaultValue"] in values  # the backend does not check this


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"train_sizes": ("nano",)}, "no pipeline parameter train_sizes"),
        ({"eval_mode": ("a", "b")}, "none of its choices a, b"),
    ],
)
def test_a_choice_that_does_not_fit_the_pipeline_is_refused(choices, words):
    with pytest.raises(compiling.ConfigError, match=words):
        compiling.compiled_yaml(train.train_pipeline, choices)


@pytest.mark.parametrize("text", ["1e-4", "10", "0x1f", "1_000", ".5", "nan", "-3"])
def test_a_text_that_looks_like_a_number_is_quoted_for_readers_that_would_take_it_for_one(text):
    dumped = yaml.dump({"defaultValue": text}, Dumper=compiling.QuotingDumper)
    assert dumped == f"defaultValue: '{text}'\n"
    assert yaml.safe_load(dumped) == {"defaultValue": text}


def test_parameters_sort_into_groups_and_say_what_they_are(compiled):
    # The form sorts by name and shows no help, so names carry meaning; only the recipe is asked for.
    assert {name.split("_")[0] for name in compiled.parameters} == {"data", "train", "eval", "register"}
    assert all(one.get("description") for one in compiled.parameters.values())
    required = {name for name, one in compiled.parameters.items() if not one.get("isOptional")}
    assert required == {"data_recipe_uri"}


def test_the_exit_handler_is_outermost_and_last(compiled):
    tasks = compiled.ir["root"]["dag"]["tasks"]
    (handler,) = (name for name, task in tasks.items() if "dag" in compiled.components[task["componentRef"]["name"]])
    (last,) = set(tasks) - {handler}
    assert tasks[last]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert tasks[last]["dependentTasks"] == [handler]
    assert "dependentTasks" not in tasks[handler]


def test_loops_are_flat_and_their_items_have_the_type_that_their_body_takes(compiled):
    loops = [task for task in compiled.tasks() if "parameterIterator" in task]
    assert len(loops) == 2
    for loop in loops:
        body = compiled.components[loop["componentRef"]["name"]]
        item = loop["parameterIterator"]["itemInput"]
        item_type = body["inputDefinitions"]["parameters"][item]["parameterType"]
        taken = 0
        for task in body["dag"]["tasks"].values():
            assert not {"parameterIterator", "artifactIterator"} & set(task)
            component = compiled.components[task["componentRef"]["name"]]
            # A group below, such as a condition, has the item among its inputs and hands it on.
            inputs = task.get("inputs", {}).get("parameters", {})
            names = [name for name, one in inputs.items() if one.get("componentInputParameter") == item]
            assert all(component["inputDefinitions"]["parameters"][name]["parameterType"] == item_type for name in names)
            taken += bool(names)
        assert taken


def test_loops_run_over_outputs_that_are_typed_lists(compiled):
    # An untyped list compiles to the same words, runs in kfp.local, and kills the backend's driver.
    from typing import get_type_hints

    from components.validate.component import validate
    from components.validate.family_component import validate_family

    checks = {"validate": validate, "validate-family": validate_family}
    for task in compiled.tasks():
        if "parameterIterator" in task:
            source = task["inputs"]["parameters"][task["parameterIterator"]["items"]["inputParameter"]]
            # A task's output, or, one group further in, that group's input of the same name.
            name = source.get("componentInputParameter") or "{producerTask}-{outputParameterKey}".format(
                **source["taskOutputParameter"]
            )
            producer, _, output = name.removeprefix("pipelinechannel--").rpartition("-")
            outputs = get_type_hints(checks[producer].python_func)["return"].__annotations__
            assert outputs[output].__args__ == (str,)


def test_no_artifact_is_one_of_several(compiled):
    for dag in compiled.dags():
        for artifact in dag.get("outputs", {}).get("artifacts", {}).values():
            assert len(artifact["artifactSelectors"]) == 1


def test_conditions_compare_texts(compiled):
    policies = [task.get("triggerPolicy", {}) for task in compiled.tasks()]
    conditions = {policy["condition"] for policy in policies if "condition" in policy}
    gate = "inputs.parameter_values['pipelinechannel--report-gate'] == 'open'"
    going_on = "inputs.parameter_values['pipelinechannel--prepare-go_on'] == 'yes'"
    assert conditions == ({gate, going_on} if compiled.name == train.NAME else {gate})


def test_what_the_members_leave_is_collected_in_their_order():
    # All three lists come out of one loop, whose order is that of its items.
    compiled = PIPELINES["family"]
    (compare,) = (task for task in compiled.tasks() if task["componentRef"]["name"] == "comp-compare")
    sources = {
        name: one["taskOutputParameter"]
        for name, one in compare["inputs"]["parameters"].items()
        if name in ("judged", "run_uris", "versions")
    }
    assert len({source["producerTask"] for source in sources.values()}) == 1
    assert len({source["outputParameterKey"] for source in sources.values()}) == 3


def test_a_members_tasks_say_whose_they_are():
    compiled = PIPELINES["family"]
    for name in ("train", "evaluate-all", "report", "register", "promote"):
        (task,) = (task for task in compiled.tasks() if task["componentRef"]["name"] == f"comp-{name}")
        assert "loop-item" in task["inputs"]["parameters"]["member"]["componentInputParameter"]


def test_every_task_has_the_platforms_settings_and_no_secret_must_exist(compiled):
    tasks = compiled.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(tasks) == set(compiled.executors)
    for name, one in tasks.items():
        (settings,) = one["configMapAsEnv"]
        assert (settings["configMapName"], settings["optional"]) == (platform.SETTINGS_CONFIG_MAP, True), name
        assert [key["envVar"] for key in settings["keyToEnv"]] == list(platform.SETTINGS)
        secrets = {secret["secretName"]: [key["envVar"] for key in secret["keyToEnv"]] for secret in one["secretAsEnv"]}
        assert secrets == {
            platform.S3_SECRET: list(platform.S3_CREDENTIALS),
            platform.MLFLOW_SECRET: list(platform.MLFLOW_CREDENTIALS),
        }
        assert all(secret["optional"] for secret in one["secretAsEnv"])


def test_evaluation_asks_for_the_gpus_of_its_variant(compiled):
    asking = {name: one["resources"]["accelerator"] for name, one in compiled.executors.items() if "resources" in one}
    ((name, limit),) = asking.items()
    assert limit["resourceType"] == "nvidia.com/gpu"
    (placeholder,) = re.findall(r"pipelinechannel--[a-z]+-eval_gpus", limit["resourceCount"])
    # The driver finds the number only among the task's own inputs.
    (task,) = (task for task in compiled.tasks() if task["componentRef"]["name"] == name.replace("exec-", "comp-"))
    assert placeholder in task["inputs"]["parameters"]


def test_images_are_placeholders_that_only_the_uploader_can_resolve(compiled):
    assert {one["image"] for one in compiled.executors.values()} == {images.OPS, images.TRAIN}
    # RFC 2606: no registry will ever have this name.
    assert all(image.split("/")[0].endswith(".invalid") for image in (images.OPS, images.TRAIN))


def test_components_install_nothing_and_hold_no_logic(compiled):
    for name, one in compiled.executors.items():
        command = "\n".join(one["command"])
        assert "pip install" not in command, name
        assert "logic." in command, name
        assert len(command.splitlines()) < 90, name


def test_only_placeholders_are_used_that_the_backend_and_kfp_local_replace(compiled):
    used = set(re.findall(r"\{\{\$\.[a-z_]+", compiled.text))
    assert used == {"{{$.pipeline_job_uuid", "{{$.inputs"}  # the latter: the number of GPUs of an evaluation


def test_no_task_is_answered_from_a_cache_that_cannot_see_the_store(compiled):
    for task in compiled.tasks():
        assert not task.get("cachingOptions", {}).get("enableCache")
        assert "retryPolicy" not in task


def test_the_check_of_make_is_the_same_check():
    ended = subprocess.run([sys.executable, "-m", "pipelines.compile", "--check"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")

"""The log: cut to the restored step, appended on disks, written anew in object storage."""

import pytest

from model import storage
from model.train.log import RunLog, read_log
from model.train.stop import StopSignal, TrainStopped


@pytest.fixture(params=["disk", "s3"])
def run_uri(request, tmp_path) -> str:
    return str(tmp_path) if request.param == "disk" else request.getfixturevalue("s3").uri("run")


def steps(uri: str) -> list[int]:
    return [row["step"] for row in read_log(uri)]


def test_rows_beyond_the_restored_step_and_torn_lines_are_dropped(run_uri):
    text = "".join(f'{{"step": {step}}}\n' for step in (2, 4, 6)) + '{"step": 8, "lo'
    storage.write_text(storage.join(run_uri, "log.jsonl"), text)
    assert steps(run_uri) == [2, 4, 6]
    log = RunLog(run_uri, restored_step=4)
    log.append({"step": 6, "loss": 1.5})
    log.flush()
    assert steps(run_uri) == [2, 4, 6]
    assert read_log(run_uri)[-1] == {"step": 6, "loss": 1.5}


def test_a_new_run_starts_with_an_empty_log(run_uri):
    assert steps(run_uri) == []
    RunLog(run_uri, 0)
    assert storage.read_text(storage.join(run_uri, "log.jsonl")) == ""


def test_a_signal_outside_the_loop_ends_the_run_and_within_waits_for_the_step():
    import os
    import signal

    with StopSignal("the run") as stop:
        with stop.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.is_set
        with pytest.raises(TrainStopped, match="run it again to go on"):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

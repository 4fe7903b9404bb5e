"""train as a task: a finished run is recognised in a moment, a failed one is a sentence, a killed one leaves no rank behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.train import local, logic
from components.train.torchrun import End
from model import storage
from model.errors import ConfigError, StorageError, TrainError
from model.train.spec import LOG_FILE, TrainSpec, run_uri
from tests.support.tiny import make_base, make_spec

SLOW_START_SECONDS = 240
"""Three processes import torch and DeepSpeed; on a busy machine that takes a minute."""


@pytest.fixture(scope="module")
def spec(tmp_path_factory) -> TrainSpec:
    folder = tmp_path_factory.mktemp("train")
    return make_spec(folder)


def arguments(spec: TrainSpec, **changes) -> dict:
    from model.weights import read_base

    return {
        "corpus_uri": spec.corpus_uri,
        "base_uri": spec.base_uri,
        "base_digest": read_base(spec.base_uri).digest,
        "store_uri": spec.store_uri,
        "train_config_json": spec.config.model_dump_json(),
        "num_nodes": 1,
        "processes_per_node": 2,
        "run_id": "run-1",
        **changes,
    }


def test_a_base_that_changed_since_it_was_checked_is_refused(spec):
    with pytest.raises(ConfigError, match="changed while the pipeline ran"):
        logic.run(**arguments(spec, base_digest="0" * 64))


def test_more_machines_than_this_one_are_refused(spec):
    with pytest.raises(ConfigError, match="2 nodes need a cluster"):
        logic.run(**arguments(spec, num_nodes=2))


def test_a_missing_corpus_is_a_sentence(spec, tmp_path):
    with pytest.raises(StorageError, match="does not exist"):
        logic.run(**arguments(spec, corpus_uri=str(tmp_path / "nowhere")))


def test_a_rank_that_fails_is_the_tasks_sentence(spec, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    base = make_base(tmp_path / "base", seed=3)
    storage.delete_tree(str(tmp_path / "base/encoders.safetensors"))
    store = str(tmp_path / "store")
    with pytest.raises(TrainError, match=r"encoders\.safetensors") as caught:
        logic.run(**arguments(spec.model_copy(update={"base_uri": base, "store_uri": store})))
    assert "\n" not in str(caught.value)
    assert not storage.list_files(f"{store}/models")


def test_ranks_that_die_without_a_word_are_said_to_have_lacked_memory():
    said = local.unexplained(End(1), "store/runs/abc")
    assert "store/runs/abc ended without saying why" in said
    assert "goes on from the last checkpoint" in said
    assert said.count(". ") == 0


TASK = """
import json, sys
from components.train import logic
trained = logic.run(**json.loads(sys.argv[1]))
print(trained.manifest.digest)
"""


def _ranks_of(spec_words: str) -> set[int]:
    """Processes whose command line holds these words."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if spec_words in path.read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux")
def test_a_killed_task_takes_its_ranks_along_and_another_start_ends_with_the_same_model(tmp_path):
    spec = make_spec(tmp_path / "a", epochs=6, checkpoint={"every_steps": 2})
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}

    def start(store: str, run_id: str) -> subprocess.Popen:
        words = json.dumps(arguments(spec.model_copy(update={"store_uri": store}), run_id=run_id))
        return subprocess.Popen([sys.executable, "-c", TASK, words], stdout=subprocess.PIPE, text=True, env=environment)

    undisturbed = start(str(tmp_path / "undisturbed"), "run-undisturbed")
    digest = undisturbed.communicate(timeout=SLOW_START_SECONDS * 4)[0].splitlines()[-1]

    store = str(tmp_path / "killed")
    killed = start(store, "run-killed")
    log = Path(run_uri(spec.model_copy(update={"store_uri": store}))) / LOG_FILE
    deadline = time.monotonic() + SLOW_START_SECONDS
    while not (log.exists() and len(log.read_text().splitlines()) >= 5):
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.1)
    assert len(_ranks_of("run-killed")) >= 4  # the task, torchrun and two ranks
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    deadline = time.monotonic() + 10
    while _ranks_of("run-killed") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _ranks_of("run-killed") == set()

    again = start(store, "run-again")
    assert again.communicate(timeout=SLOW_START_SECONDS * 4)[0].splitlines()[-1] == digest
    assert again.returncode == 0

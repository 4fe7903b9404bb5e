"""Against a real Kubeflow Pipelines, where KFP_ENDPOINT names one: versions, runs, stopping, schedules, the commands.

Kubeflow's backend is in no package registry, so the development cluster has none. The namespace of its pipelines is KFP_NAMESPACE
(kubeflow), and its nodes must have the ops image.
"""

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from components import images
from model.errors import ConfigError
from pipelines.cluster import sync as work
from pipelines.cluster.config import Schedule
from pipelines.cluster.connection import Connection, KubeflowError
from pipelines.cluster.kubeflow import Kubeflow, open_kubeflow
from pipelines.cluster.render import RenderedPipeline, compiled_pipelines, render
from pipelines.cluster.schedules import Existing, Wanted, existing_of, reconcile
from pipelines.cluster.submit import find_cluster_run, newest, submit
from pipelines.cluster.tasks import ENDED, state_of, tasks_of
from tests.cluster.support import OPS_IMAGE, wait_for
from tests.pipelines.cluster.deployments import NIGHTLY, deployment

ENDPOINT = os.environ.get("KFP_ENDPOINT", "")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not ENDPOINT, reason="KFP_ENDPOINT names no Kubeflow Pipelines; its backend is in no package registry"),
]
NAMESPACE = os.environ.get("KFP_NAMESPACE", "kubeflow")
RUN_SECONDS = 240
"""A pod for each driver and each task, on a busy machine."""
RELEASE = f"test-{uuid.uuid4().hex[:8]}"


def config_of(**changes):
    address = {"endpoint": ENDPOINT, "wait_seconds": 30}
    fields = {"release": RELEASE, "namespace": NAMESPACE, "kubeflow": address, "wait_for_runs_seconds": 0}
    return deployment(**fields | changes)


def versions_of(kubeflow: Kubeflow) -> dict[str, set[str]]:
    """Ids of all versions, by the id of every pipeline."""
    pipelines = kubeflow._list(kubeflow._pipelines.pipeline_service_list_pipelines, "pipelines", **kubeflow._scope())
    ids = [one.pipeline_id for one in pipelines]
    return {one: {version.pipeline_version_id for version in kubeflow.versions(one)} for one in ids}


@pytest.fixture(scope="module")
def kubeflow() -> Iterator[Kubeflow]:
    """Somebody's Kubeflow, left as it was: else a later run would take the newest version, with images that no registry has."""
    found = open_kubeflow(Connection.open(ENDPOINT, NAMESPACE))
    before = versions_of(found)
    yield found
    for one in existing_of(found):
        if RELEASE in one.mark.owner:
            found.set_enabled(one.id, False)
            for run in found.runs(recurring_run=one.id, is_active=True):
                found.terminate(run.run_id)
            found.delete_recurring_run(one.id)
    for pipeline_id, versions in versions_of(found).items():
        for version in versions - before.get(pipeline_id, set()):
            found._call(found._pipelines.pipeline_service_delete_pipeline_version, pipeline_id, version)
        if pipeline_id not in before:
            found._call(found._pipelines.pipeline_service_delete_pipeline, pipeline_id)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> RenderedPipeline:
    """A pipeline of two tasks and a loop, that can take long or fail."""
    from kfp import compiler, dsl

    @dsl.component(base_image=images.OPS, install_kfp_package=False)
    def speak(seconds: int, fail: bool) -> str:
        import sys
        import time

        for second in range(seconds):
            print(f"second {second} of {seconds}", flush=True)
            time.sleep(1)
        if fail:
            sys.exit("the picture has no pixels; give another one.")
        return "said"

    @dsl.component(base_image=images.OPS, install_kfp_package=False)
    def hear(text: str) -> str:
        return text

    @dsl.pipeline(name=f"sphinx-x-{RELEASE}")
    def pipeline(seconds: int = 1, fail: bool = False):
        said = speak(seconds=seconds, fail=fail).set_caching_options(False)
        with dsl.ParallelFor([1, 2]):
            hear(text=said.output).set_caching_options(False)

    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    text = path.read_text()
    platform = "\n---\nplatforms: {kubernetes: {deploymentSpec: {executors: {}}}}\n" if "\n---\n" not in text else ""
    return render(text + platform, config_of(images={"ops": OPS_IMAGE, "train": OPS_IMAGE}))


def test_a_version_is_uploaded_once_and_a_rollback_makes_it_newest_again(kubeflow):
    pipelines = dict(compiled_pipelines())
    text = pipelines["sphinx-x-train"].replace("name: sphinx-x-train", f"name: sphinx-x-v-{RELEASE}")
    first = render(text, config_of())
    second = render(text, config_of(defaults={"train_variant": "nano"}))
    pipeline_id, version, is_new = kubeflow.publish(first)
    assert is_new
    assert kubeflow.publish(first) == (pipeline_id, version, False)
    time.sleep(1.1)  # the server counts in whole seconds, so the order of versions within one says nothing
    assert kubeflow.publish(second)[2]
    time.sleep(1.1)
    rolled_back = kubeflow.publish(first)
    assert rolled_back[2]
    assert kubeflow.publish(first) == (*rolled_back[:2], False)
    names = [one.display_name for one in kubeflow.versions(pipeline_id)]
    assert names == [f"{first.version}.2", second.version, first.version]


def test_closed_choices_are_kept_and_enforced(kubeflow):
    work.sync(config_of(), print)
    _, parameters = newest(kubeflow)
    assert parameters["train_variant"]["literals"]
    with pytest.raises(ConfigError, match="train_variant must be one of nano"):
        submit(kubeflow, "no", {"data_recipe_uri": "s3://b/r.yaml", "train_variant": "huge"})
    pipeline, _ = newest(kubeflow)
    with pytest.raises(KubeflowError, match='input parameter "train_variant" value .*huge.* does not match any'):
        kubeflow.start("no", pipeline, {"data_recipe_uri": "s3://b/r.yaml", "train_variant": "huge"})


def test_a_run_is_followed_by_tasks_to_its_end(kubeflow, small):
    kubeflow.publish(small)
    run_id = submit(kubeflow, "small", {"seconds": 1}, small.name)
    run = wait_for(lambda: (found := kubeflow.run(run_id)).state in ENDED and found, RUN_SECONDS, "the run", every=2)
    assert state_of(run) == "done"
    settled = wait_for(lambda: len(found := tasks_of(kubeflow.run(run_id))) == 2 and found, 30, "its tasks", every=2)
    assert [(task.name, task.state, task.total) for task in settled] == [("speak", "done", 1), ("hear", "done", 2)]
    assert find_cluster_run(kubeflow, run_id[:8]).run_id == run_id


def command(*words: str, code: int = 0) -> str:
    """What `sphinx-x` prints, both streams."""
    environment = {**os.environ, "KFP_ENDPOINT": ENDPOINT, "KFP_NAMESPACE": NAMESPACE, "COLUMNS": "200"}
    ended = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *words], capture_output=True, text=True, env=environment, timeout=300, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_a_failed_run_gives_its_sentence_in_the_logs(kubeflow, small):
    kubeflow.publish(small)
    run_id = submit(kubeflow, "failing", {"fail": True}, small.name)
    wait_for(lambda: kubeflow.run(run_id).state in ENDED, RUN_SECONDS, "the run", every=2)
    assert state_of(kubeflow.run(run_id)) == "failed"
    said = command("logs", "--cluster", run_id[:12])
    assert said.splitlines() == ["second 0 of 1", "the picture has no pixels; give another one."]
    assert "speak failed" in command("runs", "--cluster", "--limit", "1")
    kubeflow.retry(run_id)
    again = wait_for(
        lambda: len((found := kubeflow.run(run_id)).state_history) > 3 and found.state in ENDED, RUN_SECONDS, "retry"
    )
    assert again


def test_stopping_a_run_and_following_its_log_meanwhile(kubeflow, small):
    kubeflow.publish(small)
    run_id = submit(kubeflow, "stopped", {"seconds": 200}, small.name)
    wait_for(lambda: "second 1 of 200" in command_if_there(run_id), RUN_SECONDS, "the first lines", every=2)
    followed: list[str] = []
    reader = threading.Thread(target=lambda: followed.append(command("logs", "--cluster", run_id, "-f", "--task", "speak")))
    reader.start()
    assert "are freed within a minute" in command("stop", "--cluster", run_id[:12])
    wait_for(lambda: kubeflow.run(run_id).state in ENDED, 120, "the end", every=2)
    assert state_of(kubeflow.run(run_id)) == "stopped"
    reader.join(60)
    assert "second 1 of 200" in followed[0]
    assert "has ended already: stopped" in command("stop", "--cluster", run_id[:12])


def command_if_there(run_id: str) -> str:
    try:
        return command("logs", "--cluster", run_id)
    except AssertionError:
        return ""


def test_schedules_are_made_changed_paused_and_removed_exactly_once(kubeflow):
    strangers = {one.recurring_run_id for one in kubeflow.recurring_runs()}
    other = [NIGHTLY | {"name": "another-release"}]
    work.sync(config_of(release=f"{RELEASE}-b", schedules=other), print)

    def synced(*schedules) -> tuple[list[Existing], int]:
        steps = work.sync(config_of(schedules=list(schedules)), print)
        assert work.sync(config_of(schedules=list(schedules)), print) == 0
        assert work.check(config_of(schedules=list(schedules)), print) == 0
        return existing_of(kubeflow, f"{NAMESPACE}/{RELEASE}"), steps

    (made,), _ = synced(NIGHTLY)
    assert made.is_enabled
    (paused,), _ = synced(NIGHTLY | {"paused": True})
    assert (paused.id, paused.is_enabled) == (made.id, False)
    (resumed,), _ = synced(NIGHTLY)
    assert (resumed.id, resumed.is_enabled) == (made.id, True)
    (changed,), _ = synced(NIGHTLY | {"cron": "0 0 3 * * *"})
    assert changed.id != made.id
    assert len(synced(NIGHTLY, NIGHTLY | {"name": "second", "paused": True})[0]) == 2
    assert synced()[0] == []
    kept = {one.recurring_run_id for one in kubeflow.recurring_runs()}
    assert strangers <= kept
    assert len(existing_of(kubeflow, f"{NAMESPACE}/{RELEASE}-b")) == 1
    assert work.remove(config_of(release=f"{RELEASE}-b"), print) == 2


def test_two_syncs_at_once_make_no_doubles(kubeflow):
    config = config_of(schedules=[NIGHTLY, NIGHTLY | {"name": "second"}])
    threads = [threading.Thread(target=work.sync, args=(config, print)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = existing_of(kubeflow, f"{NAMESPACE}/{RELEASE}")
    assert sorted(one.mark.name for one in found) == ["nightly", "second"]
    assert work.sync(config, print) == 0
    work.remove(config, print)


def test_a_schedule_fires_by_itself_and_goes_when_its_run_has_ended(kubeflow, small):
    pipeline_id, version, _ = kubeflow.publish(small)
    schedule = Schedule(name="often", cron="*/10 * * * * *", parameters={"seconds": 100})
    owner = f"{NAMESPACE}/{RELEASE}-often"
    wanted = Wanted(owner, schedule, pipeline_id, kubeflow.experiment())
    reconcile(kubeflow, owner, [wanted], 0, print)
    (there,) = existing_of(kubeflow, owner)
    run = wait_for(lambda: next(iter(kubeflow.runs(recurring_run=there.id)), None), 120, "its first run", every=2)
    assert run.pipeline_version_reference.pipeline_version_id == version
    said: list[str] = []
    reconcile(kubeflow, owner, [], 0, said.append)
    assert "is disabled and stays until its run" in said[0]
    assert [one.is_enabled for one in existing_of(kubeflow, owner)] == [False]
    kubeflow.terminate(run.run_id)
    reconcile(kubeflow, owner, [], 120, said.append)
    assert existing_of(kubeflow, owner) == []
    assert kubeflow.run(run.run_id).state in ENDED


def test_schedules_from_the_shell(kubeflow):
    name = f"shell-{RELEASE}"
    words = ("schedule", "add", name, "s3://bucket/recipe.yaml", "--cron", "0 0 2 * * *", "--variant", "nano")
    assert "fires next at" in command(*words)
    assert "is there already" in command(*words)
    assert f"{NAMESPACE}/shell" in command("schedule", "list")
    assert "is paused" in command("schedule", "pause", name)
    assert "fires again" in command("schedule", "resume", name)
    assert "removed" in command("schedule", "rm", name)
    assert "there is no schedule" in command("schedule", "rm", name, code=2)
    assert "there is no schedule" in command("schedule", "pause", name, code=2)

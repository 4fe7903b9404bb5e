"""Nothing of a training is left, whoever dies: the launcher cleans up where it can, Kubernetes with the Workflow, the reaper otherwise."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.shared.kubernetes_client import path_of
from components.train.launch import Stopped, _cleaned_up
from components.train.reaper import Reaper
from components.train.submit import submit
from components.train.trainjob import HEARTBEAT
from pipelines.commands.gc import _on_the_cluster
from tests.cluster.support import get, kubectl, wait_for
from tests.cluster.trainjobs import SECONDS, Story, delete, pods_of, trainjob, wish, workflow

pytestmark = pytest.mark.cluster


def test_a_launcher_that_fails_leaves_no_trainjob(api, namespace, runtime):
    asked = wish(namespace)
    submit(api, trainjob(asked, "time.sleep(600)"))
    with pytest.raises(ZeroDivisionError), _cleaned_up(api, namespace, asked.name, None):
        raise ZeroDivisionError
    wait_for(lambda: not pods_of(namespace, asked.name), SECONDS, "the pods to go")
    assert get(namespace, "trainjob", asked.name) is None


def test_a_launcher_that_is_taken_away_deletes_only_what_its_run_wants_no_more(api, namespace, runtime):
    goes_on, terminated = workflow(namespace, "runs"), workflow(namespace, "stopped", activeDeadlineSeconds=0)
    for owner, stays in ((goes_on, True), (terminated, False)):
        asked = wish(namespace, owner=owner)
        submit(api, trainjob(asked, "time.sleep(600)"))
        with pytest.raises(Stopped), _cleaned_up(api, namespace, asked.name, owner):
            raise Stopped
        assert (get(namespace, "trainjob", asked.name) is not None) is stays
        delete(namespace, asked.name)


def test_a_second_try_waits_until_the_first_ones_nodes_have_saved(api, namespace, runtime):
    asked = wish(namespace)
    slow = "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(4), sys.exit(143)))\ntime.sleep(600)"
    made, _ = submit(api, trainjob(asked, slow))
    Story(api, made).says("node 0 | begin 0 0")
    kubectl("-n", namespace, "delete", "trainjob", asked.name, "--wait=false")
    said: list[str] = []
    again, adopted = submit(api, trainjob(asked, "time.sleep(1)"), said.append)
    assert not adopted
    assert "of an earlier try has gone" in said[0]
    assert Story(api, again).end() == ""
    delete(namespace, asked.name)


def test_a_terminated_run_keeps_nothing_and_a_deleted_workflow_takes_its_trainjob_along(api, namespace, runtime):
    stays = wish(namespace, owner=workflow(namespace, "goes-on"))
    goes = wish(namespace, owner=workflow(namespace, "terminated"))
    for asked in (stays, goes):
        submit(api, trainjob(asked, "time.sleep(600)"))
    wait_for(lambda: len(pods_of(namespace, stays.name)) == len(pods_of(namespace, goes.name)) == 2, SECONDS, "the pods")
    reaper = Reaper(api, namespace)
    assert reaper.round() == []
    # Kubeflow's Terminate, and nothing else: no exit handler, no signal.
    patch = '{"spec":{"activeDeadlineSeconds":0}}'
    kubectl("-n", namespace, "patch", "workflow", "terminated", "--type=merge", "-p", patch)
    began = time.monotonic()
    assert [(one.name, one.reason) for one in reaper.round()] == [(goes.name, "its Workflow was terminated")]
    wait_for(lambda: not pods_of(namespace, goes.name), 60, "the pods to go")
    assert time.monotonic() - began < 60
    assert len(pods_of(namespace, stays.name)) == 2
    kubectl("-n", namespace, "delete", "workflow", "goes-on")
    wait_for(lambda: get(namespace, "trainjob", stays.name) is None, SECONDS, "the garbage collector")
    wait_for(lambda: not pods_of(namespace, stays.name), SECONDS, "the pods to go")


def test_the_command_that_the_chart_runs_reaps_within_a_minute_of_terminate(api, namespace, runtime):
    asked = wish(namespace, owner=workflow(namespace, "watched"))
    submit(api, trainjob(asked, "time.sleep(600)"))
    wait_for(lambda: len(pods_of(namespace, asked.name)) == 2, SECONDS, "the pods")
    command = [sys.executable, "-m", "pipelines.cli", "reap", "--watch", "--every-seconds", "5", "--namespace", namespace]
    reaper = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path(__file__).parents[2]
    )
    try:
        kubectl("-n", namespace, "patch", "workflow", "watched", "--type=merge", "-p", '{"spec":{"activeDeadlineSeconds":0}}')
        wait_for(lambda: get(namespace, "trainjob", asked.name) is None, 60, "the reaper")
        wait_for(lambda: not pods_of(namespace, asked.name), 60, "the pods to go")
    finally:
        reaper.terminate()
    assert f"deleted TrainJob {asked.name}: its Workflow was terminated" in reaper.communicate()[0]
    once = subprocess.run(
        [*command[:4], "--namespace", namespace], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert once.stdout == f"no TrainJob of {namespace} is unwanted\n", once.stderr


def test_cleaning_a_store_waits_for_the_pipeline_runs_that_use_it(api, namespace, runtime):
    asked = wish(namespace, owner=workflow(namespace, "uses-the-store"))
    submit(api, trainjob(asked, "time.sleep(600)"))
    training, running = _on_the_cluster(namespace)
    assert training == [asked.run_digest[:12]]
    assert "uses-the-store" in running
    kubectl(
        "-n", namespace, "patch", "workflow", "uses-the-store", "--type=merge", "-p", '{"spec":{"activeDeadlineSeconds":0}}'
    )
    assert "uses-the-store" not in _on_the_cluster(namespace)[1]
    delete(namespace, asked.name)


def test_a_laptops_trainjob_goes_when_its_heart_has_stopped(api, namespace, runtime):
    alive, dead = wish(namespace), wish(namespace, heartbeat="2026-01-01T00:00:00+00:00")
    for asked in (alive, dead):
        submit(api, trainjob(asked, "time.sleep(600)"))
    assert get(namespace, "trainjob", alive.name)["metadata"]["annotations"][HEARTBEAT] == alive.heartbeat
    assert [one.name for one in Reaper(api, namespace).round()] == [dead.name]
    assert api.get(path_of("trainjobs", namespace, alive.name))["metadata"]["name"] == alive.name
    delete(namespace, alive.name)

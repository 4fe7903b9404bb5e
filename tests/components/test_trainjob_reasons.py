"""One sentence out of many objects: every way to wait, to restart and to fail."""

import pytest

from components.train.reasons import Ending, Evidence, Waiting, ending_text, endings_of, last_reason, why_failed, why_waiting
from components.train.torchrun import End, Note, end_of


def failed(reason: str, message: str = "", **spec) -> dict:
    return {
        "spec": spec,
        "status": {"conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": message}]},
    }


def evidence(trainjob: dict, *endings: Ending, stored: str = "", max_restarts: int = 3) -> Evidence:
    return Evidence("sphinx-x-tiny-0123456789", trainjob, max_restarts, endings, stored)


def ending(exit_code: int | None = 1, index: int = 0, **fields) -> Ending:
    return Ending(**{"pod": "p", "index": index, "attempt": 0, "exit_code": exit_code, **fields})


FAILURES = [
    (
        evidence({}),
        "the TrainJob sphinx-x-tiny-0123456789 was deleted while it ran; run again to go on from the last checkpoint.",
    ),
    (
        evidence(failed("DeadlineExceeded", activeDeadlineSeconds=7200)),
        "training was stopped at its limit of 2 hours; raise SPHINX_X_TRAIN_DEADLINE_HOURS and run again to go on from the last checkpoint.",
    ),
    (
        evidence(failed("FailJobSetFailurePolicyAction"), ending(64, message="packs are wrong; do this."), ending(3, 1)),
        "packs are wrong; do this.",
    ),
    (
        evidence(failed("FailJobSetFailurePolicyAction"), ending(64, message="from the pod."), stored="from the store."),
        "from the store.",
    ),
    (
        evidence(failed("FailJobSetFailurePolicyAction", "jobset failed")),
        "training failed for good (jobset failed); the log of its first node says why.",
    ),
    (
        evidence(failed("ReachedMaxRestarts"), ending(3, 1), ending(137, reason="OOMKilled")),
        "training was restarted 3 times and failed again: node 0 reached its memory limit and was killed; raise the nodes' memory, "
        "or lower loader.workers.",
    ),
    (
        evidence(failed("ReachedMaxRestarts")),
        "training was restarted 3 times and failed again: its nodes did not say why, their log does.",
    ),
    (
        evidence(failed("TrainingRuntimeNotSupported", "no such kind")),
        "the TrainJob sphinx-x-tiny-0123456789 failed (TrainingRuntimeNotSupported: no such kind); correct that and run again.",
    ),
]


@pytest.mark.parametrize(("known", "sentence"), FAILURES)
def test_a_failure_is_one_sentence(known, sentence):
    assert why_failed(known) == sentence
    assert "\n" not in why_failed(known)


ENDS = [
    (ending(137), "node 0 was killed (exit code 137), by the system or by hand."),
    (ending(143), "node 0 was asked to stop."),
    (ending(5), "node 0 ended with exit code 5; its log says why."),
    (ending(1, message="disk full."), "disk full."),
    (
        ending(1, message="Traceback\n  File x\nValueError: no"),
        "node 0 ended with exit code 1, its last word was: ValueError: no",
    ),
    (ending(None, reason="UnexpectedAdmissionError"), "node 0 was deleted before it ran (UnexpectedAdmissionError)."),
    (
        ending(None, reason="Evicted", message="The node was low on resource: memory."),
        "node 0 was moved off its machine (The node was low on resource: memory.).",
    ),
    (
        ending(143, reason="DisruptionTarget", message="Preempted by a pod"),
        "node 0 was moved off its machine (Preempted by a pod).",
    ),
]


@pytest.mark.parametrize(("end", "sentence"), ENDS)
def test_an_end_is_one_sentence(end, sentence):
    assert ending_text(end) == sentence


def test_of_several_ends_the_one_that_explains_the_others_counts():
    quiet, crash, oom, final = (
        ending(3, 0, time="1"), ending(1, 1, message="mine.", time="3"), ending(137, 2, reason="OOMKilled", time="4"),
        ending(64, 3, message="final.", time="5"),
    )  # fmt: skip
    everybody = failed("x")
    assert last_reason(evidence(everybody, quiet, crash)) == "mine."
    assert "memory" in last_reason(evidence(everybody, quiet, crash, oom))
    assert last_reason(evidence(everybody, quiet, crash, oom, final)) == "final."
    assert last_reason(evidence(everybody, ending(1, 1, message="later.", time="9"), crash)) == "mine."
    assert last_reason(evidence(everybody, ending(0))) == ""


def pod(phase: str = "Pending", container: dict | None = None, conditions: tuple = (), **status) -> dict:
    statuses = [{"name": "node", "image": "registry/train@sha256:1", "state": container}] if container else []
    labels = {"batch.kubernetes.io/job-completion-index": "2", "jobset.sigs.k8s.io/restart-attempt": "1"}
    return {
        "metadata": {"name": "job-node-0-2-x", "labels": labels},
        "status": {"phase": phase, "containerStatuses": statuses, "conditions": list(conditions), **status},
    }


def event(reason: str, message: str, kind: str = "Warning", at: str = "1") -> dict:
    return {"type": kind, "reason": reason, "message": message, "lastTimestamp": at}


UNSCHEDULABLE = {
    "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: 0/3 nodes are available.",
}  # fmt: skip

WAITS = [
    ([pod(conditions=(UNSCHEDULABLE,))], [], Waiting("0/3 nodes are available: 3 Insufficient nvidia.com/gpu")),
    (
        [pod(container={"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}})],
        [],
        Waiting("the image registry/train@sha256:1 cannot be pulled", True),
    ),
    (
        [
            pod(
                container={
                    "waiting": {
                        "reason": "ErrImagePull",
                        "message": "failed to pull: failed to resolve reference: registry/train: not found",
                    }
                }
            )
        ],
        [],
        Waiting("the image registry/train@sha256:1 cannot be pulled (registry/train: not found)", True),
    ),
    (
        [
            pod(
                container={
                    "waiting": {
                        "reason": "ImagePullBackOff",
                        "message": "Back-off pulling image: ErrImagePull: x: registry/train: not found",
                    }
                }
            )
        ],
        [],
        Waiting("the image registry/train@sha256:1 cannot be pulled (registry/train: not found)", True),
    ),
    (
        [pod(container={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "sphinx-x-s3" not found'}})],
        [],
        Waiting('the container cannot be made (secret "sphinx-x-s3" not found)', True),
    ),
    (
        [],
        [event("FailedCreate", 'pods "x" is forbidden: exceeded quota: gpus, requested: 8')],
        Waiting('the namespace\'s quota is used up (pods "x" is forbidden: exceeded quota: gpus, requested: 8)'),
    ),
    (
        [],
        [event("FailedCreate", 'pods "x" is forbidden: violates PodSecurity "restricted:latest"')],
        Waiting('the cluster refuses the pods (pods "x" is forbidden: violates PodSecurity "restricted:latest")', True),
    ),
    ([], [event("FailedMount", "old", at="1"), event("FailedMount", "new", at="2")], Waiting("a pod cannot start (new)")),
    ([pod(container={"waiting": {"reason": "ContainerCreating"}})], [event("Pulling", "image", "Normal")], None),
    ([pod("Running")], [], None),
]


@pytest.mark.parametrize(("pods", "events", "waiting"), WAITS)
def test_what_nodes_wait_for_is_said(pods, events, waiting):
    assert why_waiting(pods, events) == waiting


def test_ends_are_read_off_pods():
    dead = {"terminated": {"exitCode": 1, "reason": "Error", "message": "why.", "finishedAt": "t"}}
    assert endings_of([pod("Failed", dead)]) == [Ending("job-node-0-2-x", 2, 1, 1, "Error", "why.", "t")]
    disrupted = {"type": "DisruptionTarget", "status": "True", "message": "drained"}
    assert endings_of([pod("Failed", dead, (disrupted,))])[0].reason == "DisruptionTarget"
    final = {"terminated": {"exitCode": 64, "reason": "Error", "message": "final.", "finishedAt": "t"}}
    assert endings_of([pod("Failed", final, (disrupted,))])[0].message == "final."
    assert endings_of([pod("Failed", reason="Evicted", message="low on memory")])[0].exit_code is None
    assert endings_of([pod("Running", {"running": {}})]) == []


def note(rank: int, exit_code: int | None, sentence: str = "", time: float = 0.0) -> Note:
    return Note(rank, exit_code, sentence, time)


RANKS = [
    (0, [note(0, 0)], End(0)),
    (1, [note(0, 64, "final.", 2.0), note(1, 2)], End(64, "final.")),
    (1, [note(0, 1, "second.", 2.0), note(1, 1, "first.", 1.0)], End(1, "first.")),
    # torchrun asks the others to stop when one is killed: that they were asked is no reason.
    (1, [note(0, 143, "asked to stop.", 1.0), note(1, None)], End(1)),
    (1, [note(0, 143, "saved.", 1.0), note(1, 143, "saved.", 2.0)], End(143, "saved.")),
    (1, [note(0, 3), note(1, 3)], End(3)),
    (1, [], End(1, has_started=False)),
]


@pytest.mark.parametrize(("code", "notes", "end"), RANKS)
def test_the_ranks_of_a_node_have_one_end(code, notes, end):
    assert end_of(code, notes) == end

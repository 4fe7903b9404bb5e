"""Which TrainJobs go, and that a reaper outlives an API that fails."""

from datetime import UTC, datetime, timedelta

import pytest

from components.shared.kubernetes_client import KubernetesError
from components.train.reaper import Reaped, Reaper, reap_for_ever, time_of, why_unwanted, workflow_of
from components.train.workflow import why_over

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def ago(**span) -> str:
    return (NOW - timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


def trainjob(condition: str = "", since: str = "", beat: str = "", created: str = "", owner: bool = False) -> dict:
    metadata = {
        "name": "job",
        "creationTimestamp": created or ago(days=3),
        "annotations": {"sphinx-x/heartbeat": beat} if beat else {},
    }
    if owner:
        metadata["ownerReferences"] = [{"kind": "Workflow", "name": "w", "uid": "u"}]
    conditions = [{"type": condition, "status": "True", "lastTransitionTime": since}] if condition else []
    return {"metadata": metadata, "spec": {}, "status": {"conditions": conditions}}


def workflow(phase: str = "Running", **spec) -> dict:
    return {"metadata": {"name": "w", "uid": "u"}, "spec": spec, "status": {"phase": phase}}


CASES = [
    (trainjob(owner=True), True, workflow(), ""),
    (trainjob(owner=True), True, workflow(activeDeadlineSeconds=3600), ""),
    (trainjob(owner=True), True, None, "its Workflow is gone"),
    (trainjob(owner=True), True, workflow(activeDeadlineSeconds=0), "its Workflow was terminated"),
    (trainjob(owner=True), True, workflow(shutdown="Stop"), "its Workflow was terminated"),
    (trainjob(owner=True), True, workflow("Succeeded"), "its Workflow has ended (Succeeded)"),
    (trainjob(owner=True), True, workflow("Failed"), "its Workflow has ended (Failed)"),
    (trainjob(owner=True), True, workflow("Error"), "its Workflow has ended (Error)"),
    (trainjob(beat=ago(minutes=14)), False, None, ""),
    (trainjob(beat=ago(minutes=16)), False, None, "its launcher has not been heard of since 2026-06-01 11:44 UTC"),
    (trainjob(created=ago(minutes=5)), False, None, ""),
    (
        trainjob(created=ago(hours=2), beat="nonsense"),
        False,
        None,
        "its launcher has not been heard of since 2026-06-01 10:00 UTC",
    ),
    (trainjob("Complete", ago(hours=23), beat=ago(hours=23)), False, None, ""),
    (trainjob("Complete", ago(hours=25)), False, None, "it ended more than a day ago"),
    (trainjob("Failed", ago(hours=25), owner=True), True, workflow(), "it ended more than a day ago"),
    (trainjob("Failed", ago(hours=1), owner=True), True, None, ""),
]


@pytest.mark.parametrize(("job", "has_owner", "owner", "reason"), CASES)
def test_what_nobody_wants_goes_and_all_else_stays(job, has_owner, owner, reason):
    assert why_unwanted(job, has_owner, owner, NOW) == reason


def test_a_workflow_is_over_when_it_ended_or_was_terminated_and_not_before_it_began():
    assert why_over({"spec": {}}) == ""
    assert why_over(workflow("Pending")) == ""


def test_a_workflow_is_known_by_reference_or_by_label():
    assert workflow_of(trainjob(owner=True)) == ("w", "u")
    assert workflow_of({"metadata": {"labels": {"sphinx-x/workflow": "w"}}}) == ("w", "")
    assert workflow_of(trainjob()) is None


def test_times_are_read_as_kubernetes_and_python_write_them():
    assert time_of("2026-06-01T12:00:00Z") == NOW == time_of(NOW.isoformat()) == time_of("2026-06-01T12:00:00")
    assert time_of("yesterday") is None is time_of(None)


class Api:
    """An API server of three TrainJobs, as the reaper sees it; each fails as it is told."""

    def __init__(self, **answers) -> None:
        self.answers, self.deleted = answers, []

    def get(self, path: str, **_query) -> dict:
        name = path.rpartition("/")[2]
        answer = self.answers.get(name, {"items": []})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def delete(self, path: str) -> None:
        self.deleted.append(path.rpartition("/")[2])


def named(name: str, owner: str, uid: str = "u") -> dict:
    metadata = {
        "name": name,
        "creationTimestamp": ago(days=1),
        "ownerReferences": [{"kind": "Workflow", "name": owner, "uid": uid}],
    }
    return {"metadata": metadata, "spec": {}, "status": {}}


def test_one_workflow_that_cannot_be_read_holds_up_nobody_else():
    listed = {
        "items": [named("a", "broken"), named("b", "gone"), named("c", "goes-on"), named("d", "goes-on", uid="an earlier one")]
    }
    api = Api(
        trainjobs=listed,
        broken=KubernetesError("x", 500),
        gone=KubernetesError("x", 404),
        **{"goes-on": {"metadata": {"uid": "u"}, "status": {"phase": "Running"}}},
    )
    assert Reaper(api, "ns").round() == [Reaped("b", "its Workflow is gone"), Reaped("d", "its Workflow is gone")]
    assert api.deleted == ["b", "d"]


def test_a_cluster_without_argo_keeps_its_trainjobs():
    missing = KubernetesError("x", 404, "the server could not find the requested resource")
    with pytest.raises(KubernetesError):
        Reaper(Api(trainjobs={"items": [named("a", "w")]}, w=missing), "ns").round()


def test_a_failing_api_is_told_once_and_asked_again(tmp_path):
    rounds = iter(
        [KubernetesError("no answer"), KubernetesError("no answer"), [Reaped("a", "why")], KubernetesError("no answer"), []]
    )

    class Rounds:
        def round(self):
            outcome = next(rounds)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    said, left, alive = [], [4, 3, 2, 1, 0], tmp_path / "alive"
    reap_for_ever(Rounds(), said.append, 0, alive, lambda: bool(left.pop(0)))
    assert said == ["no answer", "deleted TrainJob a: why", "no answer"]
    assert alive.exists()

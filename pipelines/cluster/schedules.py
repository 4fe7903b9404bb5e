"""Schedules as Kubeflow's recurring runs: what is wanted, what is there, and the fewest changes from one to the other.

Kubeflow cannot change a recurring run and lets two have one name. So each of ours carries a mark in its description: whose it is,
its name, and a digest of everything that was asked for. What has no mark of the same owner is never touched. Two reconciliations
at once may both make a schedule; each looks again afterwards, and both keep the same one: the oldest, then the smallest id.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from model.contracts.base import digest_of
from pipelines.cluster.config import Schedule
from pipelines.cluster.connection import KubeflowError
from pipelines.cluster.kubeflow import Kubeflow

BY_HAND = "shell"
"""Release part of the owner of schedules that people add with the command line."""
ROUNDS = 3
"""Looks at what is there; the second finds nothing to do unless somebody else reconciles at the same time."""
_MARK = re.compile(r"^sphinx-x schedule (\{.*\})$", re.MULTILINE)
LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Mark:
    """What a recurring run of ours says of itself."""

    owner: str
    """Namespace and release, as in kubeflow/sphinx-x."""
    name: str
    content: str
    """Digest of everything that was asked for, except whether it is paused."""

    def description(self) -> str:
        """For the recurring run: a sentence for people, a line for `of`."""
        line = json.dumps({"owner": self.owner, "name": self.name, "content": self.content})
        place = "by `sphinx-x schedule`" if self.owner.endswith(f"/{BY_HAND}") else f"by the chart's release {self.owner}"
        return f"Made {place}; a change made here is lost at the next one there.\nsphinx-x schedule {line}"

    @classmethod
    def of(cls, description: str | None) -> "Mark | None":
        """The mark in a description; None if there is none that this program can read."""
        found = _MARK.search(description or "")
        try:
            return cls(**json.loads(found[1])) if found else None
        except (ValueError, TypeError):
            return None


@dataclass(frozen=True)
class Wanted:
    """A schedule of ours, with the ids that Kubeflow asks for."""

    owner: str
    schedule: Schedule
    pipeline_id: str
    experiment_id: str
    service_account: str = ""

    @property
    def mark(self) -> Mark:
        asked = {
            "cron": self.schedule.cron,
            "parameters": self.schedule.parameters,
            "pipeline": self.pipeline_id,
            "experiment": self.experiment_id,
            "service_account": self.service_account,
        }
        return Mark(self.owner, self.schedule.name, digest_of(asked)[:12])


@dataclass(frozen=True)
class Existing:
    """A recurring run of ours as it is."""

    id: str
    mark: Mark
    is_enabled: bool
    created: datetime


@dataclass(frozen=True)
class Action:
    """One step towards what is wanted."""

    kind: Literal["create", "enable", "disable", "delete"]
    name: str
    why: str
    id: str = ""
    """Of the recurring run; empty for one that is made."""
    wanted: Wanted | None = None


def plan(wanted: Iterable[Wanted], existing: Iterable[Existing]) -> list[Action]:
    """The steps from what is to what shall be, in their order: what goes stops first, what comes is made, what goes is removed.

    Args:
        wanted: All schedules of one owner.
        existing: All recurring runs of that owner.
    """
    by_name = {one.schedule.name: one for one in wanted}
    going: list[tuple[Existing, str]] = []
    steps: list[Action] = []
    kept: dict[str, Existing] = {}
    for one in sorted(existing, key=lambda one: (one.created, one.id)):
        name = one.mark.name
        if name not in by_name:
            going.append((one, "no longer wanted"))
        elif one.mark.content != by_name[name].mark.content:
            going.append((one, "changed"))
        elif name in kept:
            going.append((one, "there twice"))
        else:
            kept[name] = one
    for name, one in by_name.items():
        if (there := kept.get(name)) is None:
            steps.append(Action("create", name, "paused" if one.schedule.paused else "new", wanted=one))
        elif there.is_enabled == one.schedule.paused:
            kind, why = ("disable", "paused") if one.schedule.paused else ("enable", "resumed")
            steps.append(Action(kind, name, why, there.id))
    stops = [Action("disable", one.mark.name, why, one.id) for one, why in going if one.is_enabled]
    return [*stops, *steps, *(Action("delete", one.mark.name, why, one.id) for one, why in going)]


def existing_of(kubeflow: Kubeflow, owner: str | None = None) -> list[Existing]:
    """Recurring runs that carry our mark.

    Args:
        owner: Only this one's; None for all.

    Raises:
        KubeflowError: as every function here that asks Kubeflow.
    """
    found = []
    for one in kubeflow.recurring_runs():
        if (mark := Mark.of(one.description)) and owner in (None, mark.owner):
            is_enabled = str(one.status) == "ENABLED"
            found.append(Existing(one.recurring_run_id, mark, is_enabled, one.created_at or datetime.now(UTC)))
    return found


def reconcile(
    kubeflow: Kubeflow,
    owner: str,
    wanted: Sequence[Wanted],
    wait_for_runs_seconds: float,
    tell: Callable[[str], None],
    only: str = "",
) -> int:
    """Make Kubeflow's recurring runs of an owner those that are wanted.

    Args:
        wait_for_runs_seconds: How long a schedule that goes waits for its active run; after that it stays, disabled, for next time.
        tell: Told every step in a sentence.
        only: Name of the one schedule to look at; all of the owner's without it.

    Returns:
        Number of steps taken.
    """
    steps, waits_for = 0, set[str]()
    for _ in range(ROUNDS):
        existing = [one for one in existing_of(kubeflow, owner) if only in ("", one.mark.name)]
        actions = [one for one in plan(wanted, existing) if one.id not in waits_for]
        if not actions:
            break
        end = time.monotonic() + wait_for_runs_seconds
        for action in actions:
            if action.kind == "delete" and (run := _active_run(kubeflow, action.id, end)):
                waits_for.add(action.id)
                tell(
                    f"schedule {action.name}: the one that goes is disabled and stays until its run {run} has ended; doing the same "
                    "again then removes it"
                )
                continue
            _take(kubeflow, action)
            steps += 1
            if action.kind != "disable" or action.why == "paused":
                tell(f"schedule {action.name}: {_SAID[action.kind]} ({action.why})")
    return steps


_SAID = {"create": "made", "enable": "fires again", "disable": "paused", "delete": "removed"}


def _take(kubeflow: Kubeflow, action: Action) -> None:
    try:
        if action.wanted:
            kubeflow.create_recurring_run(recurring_run_of(action.wanted))
        elif action.kind == "delete":
            kubeflow.delete_recurring_run(action.id)
        else:
            kubeflow.set_enabled(action.id, action.kind == "enable")
    except KubeflowError as error:
        if action.id and error.status == 404:
            return  # another reconciliation has removed it
        raise KubeflowError(f"schedule {action.name}: {error}", error.status) from error


def _active_run(kubeflow: Kubeflow, recurring_run: str, end: float) -> str:
    """A run of that schedule that is still active when the wait ends; empty if there is none."""
    while True:
        active = next(iter(kubeflow.runs(recurring_run=recurring_run, is_active=True)), None)
        if active is None:
            return ""
        if time.monotonic() >= end:
            return active.run_id
        time.sleep(LOOK_SECONDS)


def recurring_run_of(wanted: Wanted) -> Any:
    """The API's object: always the pipeline's latest version, one run at a time, no missed time made up for."""
    import kfp_server_api as api

    schedule = wanted.schedule
    return api.V2beta1RecurringRun(
        display_name=schedule.name,
        description=wanted.mark.description(),
        experiment_id=wanted.experiment_id,
        # Without a version's id every firing takes the newest one; the SDK refuses that, the API does not.
        pipeline_version_reference=api.V2beta1PipelineVersionReference(pipeline_id=wanted.pipeline_id),
        runtime_config=api.V2beta1RuntimeConfig(parameters=schedule.parameters),
        service_account=wanted.service_account or None,
        max_concurrency="1",
        no_catchup=True,
        mode="DISABLE" if schedule.paused else "ENABLE",
        trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=schedule.cron)),
    )

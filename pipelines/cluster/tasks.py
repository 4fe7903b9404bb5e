"""A run's tasks as people know them.

The API lists every node of the workflow: drivers, attempts, executors, loops and their iterations, several of one name. A task of
ours is what remains; its repetitions (one a dataset, one a benchmark) are one line that counts them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_MACHINERY = re.compile(
    r"^(root|executor|iteration-.*|for-loop-\d+.*|condition-.*|exit-handler-\d+.*|.*-driver)$|\(\d+(:\d+)?\)$|\.onExit$"
)
_REPEATED = re.compile(r"-\d+$")
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
WORDS = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "done",
    "FAILED": "failed",
    "CANCELING": "stopping",
    "CANCELED": "stopped",
    "SKIPPED": "left out",
    "PAUSED": "paused",
}


@dataclass(frozen=True)
class Task:
    """One task of the DAG with all its repetitions."""

    name: str
    state: str
    """In our words."""
    done: int
    total: int
    seconds: float
    """From its first start to its last end, or to now."""

    @property
    def count(self) -> str:
        """How many of its repetitions are done; empty for a task without any."""
        return f"{self.done} of {self.total}" if self.total > 1 else ""


def state_of(run: Any) -> str:
    """A run's state in our words; the API calls a run that somebody stopped FAILED, its history tells."""
    state = str(run.state or "PENDING")
    return "stopped" if was_stopped(run) and state == "FAILED" else WORDS.get(state, state.lower())


def was_stopped(run: Any) -> bool:
    """Whether somebody stopped it."""
    return any(str(one.state) == "CANCELING" for one in run.state_history or ())


def tasks_of(run: Any, now: datetime | None = None, nodes: Sequence[Any] | None = None) -> list[Task]:
    """Tasks that have begun, in the order in which they did.

    Args:
        run: The generated client's run.
        now: For those that still work.
        nodes: Of its workflow, where they are known; the API's own list can stand still.
    """
    details = nodes or (run.run_details.task_details if run.run_details else None) or ()
    # The topmost node is called like the workflow, whose name every child's begins with.
    tops = {child.pod_name.rsplit("-", 1)[0] for one in details for child in one.child_tasks or () if child.pod_name}
    groups: dict[str, list[Any]] = {}
    for one in details:
        name = one.display_name or ""
        if name and name not in tops and not _MACHINERY.search(name) and one.start_time:
            groups.setdefault(_REPEATED.sub("", name), []).append(one)
    ordered = sorted(groups.items(), key=lambda group: min(one.start_time for one in group[1]))
    return [_task(name, nodes, now or datetime.now(UTC), run) for name, nodes in ordered]


def _task(name: str, nodes: list[Any], now: datetime, run: Any) -> Task:
    states = [str(one.state or "SKIPPED") for one in nodes]
    if "FAILED" in states:
        state = "CANCELED" if was_stopped(run) else "FAILED"
    elif any(one not in ENDED for one in states):
        state = "RUNNING" if run.state not in ENDED else str(run.state)
    else:
        state = "SUCCEEDED" if "SUCCEEDED" in states else states[0]
    started = min(one.start_time for one in nodes)
    ends = [one.end_time for one in nodes if one.end_time and one.end_time.year > 1970]
    ended = max(ends) if len(ends) == len(nodes) else now
    seconds = max(0.0, (ended - started).total_seconds())
    return Task(name, WORDS.get(state, state.lower()), states.count("SUCCEEDED"), len(nodes), seconds)

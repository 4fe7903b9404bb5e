"""What every task of the DAG does around its logic: errors as one sentence, an event for whoever watches, an end with its runner.

On a cluster only the first matters: Kubeflow shows the last line of a failed task's log. On one machine the command line sets
the variables below; the tasks then tell it what they do (`kfp.local` reads their output line by line, too late for a bar).
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from components.shared.process import follow
from model.errors import SphinxError

RUN_ID = "SPHINX_X_RUN_ID"
"""Identity of the pipeline run where no Kubeflow gives one."""
RUNNER_PID = "SPHINX_X_RUNNER_PID"
"""Process that runs the DAG on this machine: a task ends with it."""
EVENTS = "SPHINX_X_EVENTS"
"""File that tasks append their events to, one JSON object a line."""


@contextmanager
def running(task: str, item: str = "") -> Iterator[None]:
    """The frame of a component's body.

    Args:
        task: Name of the task in the DAG.
        item: What it works on where the task is repeated: a dataset, a benchmark.
    """
    if runner := os.environ.get(RUNNER_PID):
        follow(int(runner))
    tell(task, item, "running")
    try:
        yield
    except SphinxError as error:
        tell(task, item, "failed", message=str(error))
        print(error, file=sys.stderr, flush=True)
        sys.exit(1)
    except BaseException as error:
        tell(task, item, "failed", message=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", ours=True)
        raise
    tell(task, item, "done")


def tell(task: str, item: str, state: str, **more: str | bool) -> None:
    """Append an event for the command line; without one listening, nothing happens."""
    if not (path := os.environ.get(EVENTS)):
        return
    line = json.dumps({"task": task, "item": item, "state": state, "time": time.time(), "pid": os.getpid(), **more})
    # One write of one line in append mode: two tasks that run at once never mix.
    with open(path, "ab", buffering=0) as file:
        file.write(line.encode() + b"\n")


def runs_here() -> bool:
    """Whether the command line runs the DAG on this machine; on a cluster, training runs elsewhere than its tasks."""
    return RUNNER_PID in os.environ


def run_id(kubeflow_run_id: str) -> str:
    """The pipeline run's identity: Kubeflow's, or the command line's."""
    return os.environ.get(RUN_ID) or kubeflow_run_id

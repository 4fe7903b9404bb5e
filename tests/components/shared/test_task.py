"""The frame of a task: one sentence for a person, events for whoever watches."""

import json
import os
import subprocess
import sys

import pytest

from components.shared import task
from model.errors import DataError


def _run(body: str, events=None) -> subprocess.CompletedProcess:
    code = f"from components.shared.task import running\nfrom model.errors import DataError\nwith running('unify', 'cells'):\n    {body}"
    environment = {} if events is None else {task.EVENTS: str(events)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, timeout=60, check=False
    )


def test_a_mistake_of_the_user_is_the_logs_last_line_without_a_traceback(tmp_path):
    ended = _run("raise DataError('cells/a.json is missing; check the root.')", tmp_path / "events")
    assert ended.returncode == 1
    assert ended.stderr == "cells/a.json is missing; check the root.\n"


def test_a_mistake_of_ours_keeps_its_traceback(tmp_path):
    ended = _run("raise KeyError('x')", tmp_path / "events")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [event["state"] for event in events] == ["running", "failed"]
    assert events[1]["message"] == "KeyError: 'x'"


def test_without_a_watcher_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.delenv(task.EVENTS, raising=False)
    monkeypatch.chdir(tmp_path)
    with task.running("merge"):
        task.tell("merge", "", "running", note="x")
    assert list(tmp_path.iterdir()) == []


def test_events_say_what_began_and_how_it_ended(tmp_path, monkeypatch):
    monkeypatch.setenv(task.EVENTS, str(tmp_path / "events"))
    with task.running("merge"):
        task.tell("merge", "", "running", note="8 samples")
    with pytest.raises(SystemExit), task.running("unify", "cells"):
        raise DataError("no.")
    told = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [(one["task"], one["item"], one["state"]) for one in told] == [
        ("merge", "", "running"),
        ("merge", "", "running"),
        ("merge", "", "done"),
        ("unify", "cells", "running"),
        ("unify", "cells", "failed"),
    ]
    assert told[-1]["message"] == "no."

"""A workspace belongs to one run at a time, and a dead holder does not keep it."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from components.shared.lease import LEASE_SECONDS, workspace_lease
from model.errors import StorageError

HOLD = """
import sys, time
from pathlib import Path
from components.shared.lease import workspace_lease
with workspace_lease(Path(sys.argv[1]), "recipe other"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_told_who_holds_the_workspace(tmp_path, holder):
    with (
        pytest.raises(StorageError, match=f"in use by process {holder.pid} on .* \\(recipe other\\)"),
        workspace_lease(tmp_path, "mine"),
    ):
        pass


def test_a_killed_holder_frees_the_workspace_at_once(tmp_path, holder):
    holder.kill()
    # Not waited for: a dead process that nobody has reaped yet holds nothing either.
    deadline = time.monotonic() + 10
    while True:
        try:
            with workspace_lease(tmp_path, "mine"):
                return
        except StorageError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_workspace_is_free_after_its_run(tmp_path):
    for _ in range(2):
        with workspace_lease(tmp_path, "mine"):
            assert json.loads((tmp_path / "lease.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "lease.json").exists()


def test_a_run_does_not_enter_its_own_workspace_twice(tmp_path):
    with workspace_lease(tmp_path, "mine"), pytest.raises(StorageError, match="in use"), workspace_lease(tmp_path, "mine"):
        pass


@pytest.mark.parametrize(("age_s", "free"), [(0.0, False), (LEASE_SECONDS - 5, False), (LEASE_SECONDS + 1, True)])
def test_a_holder_on_another_machine_is_judged_by_the_age_of_its_lease(tmp_path, age_s, free):
    other = {"host": socket.gethostname() + "-other", "pid": os.getpid(), "started": "1", "what": "recipe there"}
    (tmp_path / "lease.json").write_text(json.dumps({**other, "renewed": time.time() - age_s}))
    if free:
        with workspace_lease(tmp_path, "mine"):
            pass
    else:
        with pytest.raises(StorageError, match="recipe there"), workspace_lease(tmp_path, "mine"):
            pass


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"host": "a"}'])
def test_a_torn_lease_holds_nothing(tmp_path, torn):
    (tmp_path / "lease.json").write_text(torn)
    with workspace_lease(tmp_path, "mine"):
        pass


def test_a_reused_process_number_is_not_taken_for_the_holder(tmp_path):
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": "12345", "what": "recipe gone", "renewed": time.time()}
    (tmp_path / "lease.json").write_text(json.dumps(mine))
    with workspace_lease(tmp_path, "mine"):
        pass

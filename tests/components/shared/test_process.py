"""No process outlives the one that wants it, however that one ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.shared.process import start_child, stop_group

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux")

END_SECONDS = 10
"""Patience for a process to vanish: starting Python on a busy machine takes seconds, dying does not."""

PARENT = """
import sys, time
from components.shared.process import start_child
child = start_child([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""

FOLLOWER = """
import subprocess, sys, time
from components.shared.process import follow
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
follow(int(sys.argv[1]))
print(helper.pid, flush=True)
time.sleep(60)
"""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _vanishes(pid: int) -> bool:
    deadline = time.monotonic() + END_SECONDS
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not _alive(pid)


def test_a_child_ends_with_a_parent_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert _alive(child)
    parent.kill()
    parent.wait()
    assert _vanishes(child)


def test_a_child_is_the_program_itself_with_its_output_and_exit_code():
    child = start_child([sys.executable, "-c", "print('said'); raise SystemExit(7)"], stdout=subprocess.PIPE, text=True)
    said, _ = child.communicate(timeout=60)
    assert (said, child.returncode) == ("said\n", 7)


def test_a_follower_ends_with_a_process_that_is_not_its_parent_and_takes_its_group_along():
    # A leader of a group, a shell between, and the follower with a helper of its own: the shape of a kfp.local task.
    script = f"import subprocess, sys, os\nsubprocess.run(['sh', '-c', '{sys.executable} -c \"$0\" ' + str(os.getpid()), {FOLLOWER!r}])"
    leader = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert leader.stdout is not None
    helper = int(leader.stdout.readline())
    assert _alive(helper)
    os.kill(leader.pid, signal.SIGKILL)
    leader.wait()
    assert _vanishes(helper)


def test_a_follower_of_a_process_that_is_gone_does_not_start():
    gone = subprocess.Popen(["true"])
    gone.wait()
    code = f"from components.shared.process import follow\nfollow({gone.pid})\nprint('works')"
    follower = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert (follower.returncode, follower.stdout) == (1, b"")


def test_stopping_a_group_ends_members_that_ignore_the_polite_signal():
    stubborn = ["sh", "-c", "trap '' TERM; sleep 60 & echo $!; sleep 60"]
    child = start_child(stubborn, start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    member = int(child.stdout.readline())
    stop_group(child, patience_s=0.5)
    assert _vanishes(member)
    assert child.returncode == -signal.SIGKILL

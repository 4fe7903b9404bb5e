"""Processes that never outlive the one that wants them, however it ends (SIGKILL among the ways).

Three links make the chain of a run on one machine; each is set by the child, so that no clean-up has to run in a dying parent:
- `die_with_parent`: the kernel kills this process when its parent is gone (Linux, PR_SET_PDEATHSIG);
- `start_child`: starts a program through this file, which sets that and then becomes the program;
- `follow`: for a process that is not a child (a shell lies between): a thread waits for another process's end.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int | None = None) -> None:
    """Have the kernel kill this process once its parent has ended; survives exec. Does nothing outside Linux.

    Args:
        parent_pid: The parent as the parent knows itself: where it is gone already, this process ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent_pid is not None and os.getppid() != parent_pid:
        os._exit(1)


def start_child(command: Sequence[str], env: Mapping[str, str] | None = None, **options) -> subprocess.Popen:
    """Start a program that ends with this process. Call it from the main thread: the kernel watches the thread that forks."""
    launcher = [sys.executable, os.path.abspath(__file__), str(os.getpid())]
    return subprocess.Popen([*launcher, *command], env=None if env is None else dict(env), **options)


def stop_group(child: subprocess.Popen, patience_s: float = 5.0) -> None:
    """End a child that leads its own session, with all of its group: first politely, then by force."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sign)
        except ProcessLookupError:
            break
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
        if sign == signal.SIGTERM and not _group_exists(child.pid):
            break
    child.wait()


def follow(pid: int) -> None:
    """End this process's group when process `pid` ends; at once if it has ended already. Linux only, else nothing."""
    if not hasattr(os, "pidfd_open"):
        return
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        os._exit(1)

    def wait() -> None:
        select.select([watched], [], [])
        # The group is the ended process's own where that led it; a group that holds strangers is left alone.
        if os.getpgrp() == pid:
            os.killpg(pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True, name="follow").start()


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  becoming the program is the point

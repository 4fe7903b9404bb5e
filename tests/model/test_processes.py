"""Pools of processes end with the one that made them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

POOL = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from model.processes import end_with_parent

if __name__ == "__main__":
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=end_with_parent) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, SECONDS)
        time.sleep(SECONDS)
"""


def test_a_pools_worker_ends_when_its_maker_is_killed_busy_or_not(tmp_path):
    for seconds in (60, 0.01):
        script = tmp_path / f"pool-{seconds}.py"
        script.write_text(POOL.replace("time.sleep(SECONDS)\n", "time.sleep(60)\n").replace("SECONDS", str(seconds)))
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        maker = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
        assert maker.stdout is not None
        worker = int(maker.stdout.readline())
        time.sleep(0.2)
        maker.send_signal(signal.SIGKILL)
        maker.wait()
        deadline = time.monotonic() + 10
        while _lives(worker) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _lives(worker)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

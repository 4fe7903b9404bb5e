"""A laptop's database is there whole or not at all, whenever its first start is killed."""

import os
import signal
import subprocess
import sys
import time

START = """
from components.shared.mlflow_client import open_client
print(len(open_client().search_experiments()), flush=True)
"""


def test_a_first_start_that_is_killed_leaves_no_database_that_a_later_one_cannot_use(tmp_path):
    file = tmp_path / "mlflow.db"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{file}"}
    first = subprocess.Popen([sys.executable, "-c", START], env=environment, stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob(".mlflow.db.*/mlflow.db")):  # its migrations have begun
        assert first.poll() is None
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not file.exists()
    again = subprocess.run(
        [sys.executable, "-c", START], env=environment, capture_output=True, text=True, timeout=200, check=True
    )
    assert again.stdout == "1\n"
    assert file.exists()

"""`cluster down` kills by a list of processes; what is on that list is the cluster's, whatever state it finds."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[2] / "infra" / "devcluster" / "cluster"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of its own: the list has nothing to do with a cluster that may be up on this machine."""
    (tmp_path / "devcluster" / "state").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def _listed(cache: Path) -> list[int]:
    done = subprocess.run(
        [CLUSTER, "_processes"], env={**os.environ, "SPHINX_X_CACHE": str(cache)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


def _write_holder(cache: Path, pid: int) -> None:
    started = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]
    (cache / "devcluster" / "state" / "holder").write_text(f"{pid} {started}\n")


def test_nothing_where_there_is_no_cluster(cache):
    assert _listed(cache) == []


def test_nothing_while_the_holder_is_a_zombie(cache, sleeper):
    """A zombie's namespaces read as empty, which must not match every process that has some."""
    _write_holder(cache, sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert _listed(cache) == []


def test_nothing_where_the_holder_shares_this_machines_namespaces(cache, sleeper):
    _write_holder(cache, sleeper.pid)
    assert _listed(cache) == []


@pytest.mark.parametrize("content", ["", "\n", "1\n", f"{os.getpid()} 0\n", "999999999 5\n"])
def test_nothing_where_the_record_is_damaged(cache, content):
    (cache / "devcluster" / "state" / "holder").write_text(content)
    assert _listed(cache) == []


def test_what_was_started_for_the_cluster_is_found_without_its_holder(cache):
    mark = {"SPHINX_X_DEVCLUSTER": str(cache / "devcluster" / "state")}
    ours = subprocess.Popen(["sleep", "60"], env={**os.environ, **mark})
    similar = subprocess.Popen(["sleep", "60"], env={**os.environ, "SPHINX_X_DEVCLUSTER": mark["SPHINX_X_DEVCLUSTER"] + "-2"})
    try:
        assert _listed(cache) == [ours.pid]
    finally:
        for process in (ours, similar):
            process.kill()
            process.wait()

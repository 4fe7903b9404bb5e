"""A run's lease: one holder at a time, a dead one is followed at once on its machine, a silent one after its time elsewhere."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from model import storage
from model.errors import TrainError
from model.train import lease
from model.train.lease import Holder, RunLease


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Leases lapse in a second and a half instead of 45."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.3)
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 1.5)
    monkeypatch.setattr(lease, "_SETTLE_SECONDS", 0.05)


@pytest.fixture
def uri(tmp_path) -> str:
    return str(tmp_path / "run" / "lease.json")


def elsewhere(uri: str) -> RunLease:
    """A lease as another machine would hold it."""
    held = RunLease(uri, "the run")
    held.mine = Holder("another-machine", 1, "12345 pid:[1]", "theirs")
    return held


def test_a_lease_is_gone_when_its_holder_is_done(uri):
    with RunLease(uri, "the run") as held:
        assert held.is_mine()
    assert not storage.exists(uri)


def test_a_second_holder_is_refused_with_the_first_ones_name(uri):
    sentence = rf"the run is being trained by process {os.getpid()} on "
    with RunLease(uri, "the run"), pytest.raises(TrainError, match=sentence), RunLease(uri, "the run"):
        pass


def test_a_holder_elsewhere_that_renews_is_respected(uri):
    with elsewhere(uri), pytest.raises(TrainError, match="by process 1 on another-machine"), RunLease(uri, "the run"):
        pass


def test_a_holder_elsewhere_that_is_silent_is_followed_after_its_time(uri):
    storage.write_text(uri, json.dumps(asdict(Holder("another-machine", 1, "12345 pid:[1]", "theirs", 7))))
    began = time.monotonic()
    with RunLease(uri, "the run") as held:
        assert held.is_mine()
    assert time.monotonic() - began >= lease.EXPIRY_SECONDS


def test_a_holder_killed_on_this_machine_is_followed_at_once(uri):
    program = (
        "import sys, time\nfrom model.train.lease import RunLease\n"
        "with RunLease(sys.argv[1], 'the run'):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, uri], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    began = time.monotonic()
    with RunLease(uri, "the run") as held:
        assert held.is_mine()
    assert time.monotonic() - began < lease.EXPIRY_SECONDS


def test_a_holder_that_was_taken_over_stops(uri):
    with RunLease(uri, "the run") as held:
        storage.write_text(uri, json.dumps(asdict(Holder("another-machine", 1, "12345 pid:[1]", "theirs"))))
        deadline = time.monotonic() + 10
        while not held.is_lost and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(TrainError, match="taken over by another process"):
            held.require()
    assert json.loads(storage.read_text(uri))["token"] == "theirs"  # what is another's is left alone


def test_half_a_lease_file_is_taken_over(uri):
    storage.write_text(uri, '{"host": "x"')
    with RunLease(uri, "the run") as held:
        assert held.is_mine()

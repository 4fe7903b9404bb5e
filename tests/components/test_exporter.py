"""/metrics of a training run: scraped over HTTP, read as Prometheus reads it, and never in training's way."""

import re
import socket
import time
import urllib.error
import urllib.request

import pytest

from components.train import exporter as exporters
from components.train.exporter import CONTENT_TYPE, FAMILIES, PORT, Both, Exporter, exported
from model import storage
from model.train.log import read_log
from model.train.run import train
from model.train.spec import run_digest, run_uri
from tests.support.tiny import make_spec

ROW = {
    "steps": 100.0,
    "window_steps": 2.0,
    "loss": 1.5,
    "learning_rate": 2e-5,
    "data_wait_share": 0.25,
    "memory_gb": 2.0,
    "seconds_left": 60.0,
    "real_views": 30.0,
    "skipped_views": 10.0,
    "loss/dataset/receipts": 1.25,
    "loss/dataset/c/d": 1.75,
    "loss/task/vqa": 1.5,
}
SAMPLE = re.compile(r'(?P<name>[a-z_]+)\{(?P<labels>(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\} (?P<value>\S+)')


def scrape(port: int, host: str = "127.0.0.1") -> dict[tuple[str, ...], float]:
    """All samples by (name, label values...); the answer's form is checked line by line."""
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        text = answer.read().decode()
    assert text.endswith("\n")
    samples, described, typed = {}, set(), set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            described.add(line.split()[2])
        elif line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name.endswith("_total") == (kind == "counter")
            typed.add(name)
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            assert found["name"] in described & typed
            values = re.findall(r'="((?:[^"\\]|\\.)*)"', found["labels"])
            assert (found["name"], *values) not in samples
            samples[(found["name"], *values)] = float(found["value"])
    return samples


@pytest.fixture
def exporter():
    served = Exporter(0, {"run": "abc123", "variant": "nano"}, restarts=2)
    yield served
    served.close("FINISHED")


def value(samples: dict, name: str, *labels: str) -> float:
    return samples[(f"sphinx_x_train_{name}", "abc123", "nano", *labels)]


def test_a_row_becomes_series_in_base_units(exporter):
    exporter.log(40, ROW)
    samples = scrape(exporter.port)
    assert value(samples, "done_steps") == 40
    assert value(samples, "planned_steps") == 100
    assert value(samples, "loss_nats") == 1.5
    assert value(samples, "learning_rate") == 2e-5
    assert value(samples, "memory_peak_bytes") == 2e9
    assert value(samples, "data_wait_ratio") == 0.25
    assert value(samples, "remaining_seconds") == 60
    assert value(samples, "restarts") == 2
    assert value(samples, "dataset_loss_nats", "receipts") == 1.25
    assert value(samples, "dataset_loss_nats", "c/d") == 1.75
    assert value(samples, "task_loss_nats", "vqa") == 1.5
    assert abs(value(samples, "last_row_timestamp_seconds") - time.time()) < 30


def test_counters_add_up_and_gauges_show_the_newest(exporter):
    exporter.log(2, ROW)
    exporter.log(4, {**ROW, "loss": 1.0, "skipped_updates": 1.0})
    samples = scrape(exporter.port)
    assert value(samples, "real_views_total") == 60
    assert value(samples, "skipped_views_total") == 20
    assert value(samples, "skipped_updates_total") == 1
    assert value(samples, "loss_nats") == 1.0


def test_before_the_first_row_it_says_since_when_it_runs_and_nothing_it_does_not_know(exporter):
    names = {name for name, *_ in scrape(exporter.port)}
    assert names == {f"sphinx_x_train_{one}" for one in ("restarts", "start_timestamp_seconds", "saved_timestamp_seconds")}


def test_labels_are_escaped():
    served = Exporter(0, {"run": 'a"b\\c\nd', "variant": "nano"})
    try:
        assert ("sphinx_x_train_restarts", r"a\"b\\c\nd", "nano") in scrape(served.port)
    finally:
        served.close("FINISHED")


def test_a_checkpoint_is_seen_when_it_is_committed_and_a_store_that_fails_is_asked_again():
    answers = iter([None, storage.StorageError("the store does not answer."), 20, 20, 40])
    last = [None]

    def saved_step():
        last[0] = next(answers, last[0])
        if isinstance(last[0], Exception):
            raise last[0]
        return last[0]

    served = Exporter(0, {"run": "abc123", "variant": "nano"}, saved_step=saved_step, look_every_seconds=0.01)
    try:
        began = value(scrape(served.port), "start_timestamp_seconds")
        deadline = time.monotonic() + 10
        while scrape(served.port).get(("sphinx_x_train_checkpoint_steps", "abc123", "nano")) != 40:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert value(scrape(served.port), "saved_timestamp_seconds") > began
    finally:
        served.close("FINISHED")


def test_only_metrics_are_there(exporter):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/", timeout=10)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_it_is_reached_over_ipv6_too(exporter):
    assert scrape(exporter.port, "[::1]")


def test_closing_frees_the_port():
    served = Exporter(0, {})
    served.close("FINISHED")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", served.port)) != 0


def test_a_client_that_says_nothing_holds_up_no_other(exporter):
    with socket.create_connection(("127.0.0.1", exporter.port)):
        assert scrape(exporter.port)


def test_series_have_units_and_no_two_are_alike():
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    units = ("_steps", "_seconds", "_nats", "_rate", "_norm", "_per_second", "_ratio", "_bytes", "_samples", "_tokens", "_total",
             "_restarts")  # fmt: skip
    assert [name for name in names if not name.endswith(units)] == []


@pytest.mark.parametrize("environment", [{}, {PORT: ""}, {PORT: "0"}, {PORT: "9464", "RANK": "1"}])
def test_it_is_off_unless_asked_for_and_on_rank_0_alone(environment):
    kept = object()
    assert exported(None, kept, environment) is kept  # pyright: ignore


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("port", ["taken", "-1", "70000", "many"])
def test_a_port_that_cannot_be_had_is_one_warning(tmp_path, exporter, port, caplog):
    asked = str(exporter.port) if port == "taken" else port
    assert exported(make_spec(tmp_path), None, {PORT: asked}) is None
    assert f"{PORT}={asked} cannot be listened on" in caplog.text


def test_both_trackers_are_closed_even_where_one_fails():
    closed = []

    class Failing:
        def log(self, step, metrics): ...

        def close(self, status):
            closed.append(self)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        Both(Failing(), Failing()).close("FAILED")
    assert len(closed) == 2


def test_a_real_run_shows_its_last_row_its_checkpoint_and_every_field(tmp_path, monkeypatch):
    monkeypatch.setattr(exporters, "LOOK_EVERY_SECONDS", 0.05)
    spec, seen = make_spec(tmp_path), {}
    port = free_port()
    inner = exported(spec, None, {PORT: str(port), "SPHINX_X_ATTEMPT": "1"})
    assert isinstance(inner, Exporter)

    class Last:
        """Scrapes when the run ends, before the server does."""

        def log(self, step, metrics): ...

        def close(self, status):
            seen.update(scrape(port))

    train(spec, Both(Last(), inner))
    row = read_log(run_uri(spec))[-1]
    labels = (run_digest(spec)[:12], spec.config.variant)
    by_field = {family.field: family for family in FAMILIES if family.field}
    known = {*by_field, "step", "time", "window_steps"}
    # A field that is added to the log and not shown, or a series whose field is gone, is found here.
    assert {name.rsplit("/", 1)[0] if "/" in name else name for name in row} <= known
    for field, family in by_field.items():
        if field in row and family.kind == "gauge":
            assert seen[(family.name, *labels)] == pytest.approx(row[field] * family.factor)
    assert seen[("sphinx_x_train_done_steps", *labels)] == row["step"]
    assert seen[("sphinx_x_train_restarts", *labels)] == 1

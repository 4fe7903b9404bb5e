"""Six-field cron: what fires when, and what is refused in a sentence."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ConfigError
from pipelines.cluster.cron import FIELDS, parse_cron

NOON = datetime(2026, 11, 25, 12, 0, 0)  # a Wednesday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 0 2 * * *", "2026-11-26 02:00:00"),
        ("0/40 * * * * *", "2026-11-25 12:00:40"),
        ("*/7 * * * * ?", "2026-11-25 12:00:07"),
        ("0 30 4 * * SUN", "2026-11-29 04:30:00"),
        ("0 0 0 1 jan-mar *", "2027-01-01 00:00:00"),
        ("0 0 3 29 feb ?", "2028-02-29 03:00:00"),
        # Both days restricted: either fits. One of them a star, even with steps: both must.
        ("0 0 0 13 * fri", "2026-11-27 00:00:00"),
        ("0 0 0 */15 * fri", "2027-01-01 00:00:00"),
        ("10,50 5 12 * * *", "2026-11-25 12:05:10"),
    ],
)
def test_the_next_firing(text, expected):
    assert str(parse_cron(text).next_after(NOON)) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 2 * * *", 'put the second in front: "0 0 2 * * *"'),
        ("hello", "has 1 fields, not the six"),
        ("61 * * * * *", '"61" is no second; it goes from 0 to 59'),
        ("0 0 24 * * *", '"24" is no hour'),
        ("0 0 0 * * 7", "from 0 to 6 or sun to sat"),
        ("0 0 0 5-1 * *", "runs backwards"),
        ("0 0 */0 * * *", '"*/0" is no hour'),
        ("0 0 0 * * mon#2", "is no day of week"),
        ("0 0 2 30 2 *", "never fires"),
        ("@daily", "has 1 fields"),
    ],
)
def test_a_wrong_expression_is_one_sentence(text, words):
    with pytest.raises(ConfigError, match=words.replace("*", r"\*").replace("?", r"\?")):
        parse_cron(text)


numbers = [st.sets(st.integers(low, high), min_size=1, max_size=3) for _, low, high, _ in FIELDS[:3]]


@given(*numbers, st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)))
def test_it_fires_at_its_times_and_at_no_other(seconds, minutes, hours, moment):
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    fields = (",".join(map(str, sorted(values))) for values in (seconds, minutes, hours))
    cron = parse_cron(" ".join((*fields, "*", "*", "*")))
    fires = cron.next_after(moment)
    assert fires is not None
    assert moment < fires <= moment + timedelta(days=1)
    assert (fires.second in seconds, fires.minute in minutes, fires.hour in hours) == (True, True, True)
    before = (fires - timedelta(seconds=1)) if fires - moment > timedelta(seconds=1) else None
    assert before is None or cron.next_after(before) == fires

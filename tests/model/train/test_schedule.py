"""The learning rate: a pure function that rises, stays and falls as the configuration says."""

import itertools
import math

import pytest

from model.train.config import ScheduleConfig
from model.train.schedule import learning_rate, warmup_steps


def rates(schedule: ScheduleConfig, num_steps: int, epochs: float = 1.0) -> list[float]:
    return [learning_rate(step, num_steps, epochs, 2e-5, schedule) for step in range(num_steps)]


def test_cosine_rises_over_the_warm_up_and_falls_to_zero():
    found = rates(ScheduleConfig(kind="cosine", warmup_epochs=0.01), 1000)
    assert found[:10] == pytest.approx([2e-6 * (step + 1) for step in range(10)])
    assert max(found) == found[9] == found[10] == 2e-5
    assert all(before > after for before, after in itertools.pairwise(found[10:]))
    assert found[505] == pytest.approx(1e-5, rel=1e-2)
    assert found[-1] == pytest.approx(2e-5 * 0.5 * (1 + math.cos(math.pi * 989 / 990)))


def test_trapezoid_stays_at_the_peak_until_its_last_part():
    found = rates(ScheduleConfig(kind="trapezoid", warmup_epochs=0.1, decay_fraction=0.2), 100)
    assert found[9:80] == pytest.approx([2e-5] * 71)
    assert found[90] == pytest.approx(1e-5)
    assert found[-1] == pytest.approx(1e-6)


@pytest.mark.parametrize(("warmup_epochs", "epochs", "expected"), [(0.01, 1, 10), (0.01, 4, 2), (0, 1, 0), (5, 1, 500)])
def test_warm_up_is_counted_in_epochs_and_takes_at_most_half_of_a_run(warmup_epochs, epochs, expected):
    assert warmup_steps(ScheduleConfig(warmup_epochs=warmup_epochs), 1000, epochs) == expected


def test_a_run_of_one_step_learns():
    assert rates(ScheduleConfig(kind="trapezoid"), 1) == [2e-5]
    assert rates(ScheduleConfig(kind="cosine"), 1) == [2e-5]

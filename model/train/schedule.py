"""The learning rate as a pure function of the step: a resumed run needs no scheduler state."""

import math

from model.train.config import ScheduleConfig


def warmup_steps(schedule: ScheduleConfig, num_steps: int, epochs: float) -> int:
    """Steps of linear warm-up; `schedule.warmup_epochs` in optimizer steps, at most half of the run."""
    return min(round(schedule.warmup_epochs * num_steps / epochs), num_steps // 2)


def learning_rate(step: int, num_steps: int, epochs: float, peak: float, schedule: ScheduleConfig) -> float:
    """Rate of optimizer step `step`, counted from 0.

    It rises linearly to the peak, then follows a cosine to zero, or stays and falls linearly over the last
    `decay_fraction` of all steps; it would reach zero one step after the last.

    >>> [round(learning_rate(s, 10, 1.0, 1.0, ScheduleConfig(kind="trapezoid", warmup_epochs=0.2)), 3) for s in (0, 1, 5, 8, 9)]
    [0.5, 1.0, 1.0, 0.667, 0.333]
    """
    warmup = warmup_steps(schedule, num_steps, epochs)
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule.kind == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))
    decay = max(1, round(schedule.decay_fraction * num_steps))
    return peak * min(1.0, (num_steps - step) / decay)

"""Six-field cron, as Kubeflow's scheduler reads it: checked in a sentence before it is sent, and asked when it fires next.

The scheduler is robfig/cron v1 (https://pkg.go.dev/github.com/robfig/cron): second minute hour day-of-month month day-of-week,
each `*`, `?`, a number, a name, `a-b`, any of them with `/step`, or several with commas. Where both days are restricted, either fits.
"""

import itertools
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from model.errors import ConfigError

MONTHS = {
    name: number
    for number, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
WEEKDAYS = {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 6, WEEKDAYS),
)
EXAMPLE = '"0 0 2 * * *" is every night at two'
LEAP_CYCLE_DAYS = 8 * 366
"""Longest wait for a 29 February (1896 to 1904 had none between); what does not fire within it never does."""


@dataclass(frozen=True)
class Cron:
    """When a schedule fires: the values that each field allows."""

    text: str
    allowed: tuple[frozenset[int], ...]
    either_day: bool
    """Both days are restricted, so either one is enough."""

    def fires_on(self, day: datetime) -> bool:
        """Whether it fires at some time of that day."""
        _, _, _, dates, months, weekdays = self.allowed
        date_fits, weekday_fits = day.day in dates, day.isoweekday() % 7 in weekdays
        return day.month in months and (date_fits or weekday_fits if self.either_day else date_fits and weekday_fits)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first firing after a moment, in that moment's time zone; None if it never fires."""
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        seconds, minutes, hours = (sorted(values) for values in self.allowed[:3])
        for distance in range(LEAP_CYCLE_DAYS):
            day = midnight + timedelta(days=distance)
            if self.fires_on(day):
                for hour, minute, second in itertools.product(hours, minutes, seconds):
                    if (time := day.replace(hour=hour, minute=minute, second=second)) > moment:
                        return time
        return None


def parse_cron(text: str) -> Cron:
    """Read a cron expression.

    Raises:
        ConfigError: it has not six fields, a field has a wrong value, or it never fires.
    """
    words = text.split()
    if len(words) == 5:
        raise ConfigError(f'cron "{text}" has five fields; put the second in front: "0 {text.strip()}".')
    if len(words) != 6:
        names = ", ".join(name for name, *_ in FIELDS)
        raise ConfigError(f'cron "{text}" has {len(words)} fields, not the six {names}; for example, {EXAMPLE}.')
    allowed = tuple(_values(word, text, *field) for word, field in zip(words, FIELDS, strict=True))
    either_day = not any(sign in word for word in (words[3], words[5]) for sign in "*?")
    cron = Cron(" ".join(words), allowed, either_day)
    if cron.next_after(datetime(2000, 1, 1)) is None:
        raise ConfigError(f'cron "{text}" never fires: no such day comes in any month it names; for example, {EXAMPLE}.')
    return cron


def _values(word: str, text: str, name: str, lowest: int, highest: int, names: dict[str, int]) -> frozenset[int]:
    values: set[int] = set()
    for part in word.lower().split(","):
        found = re.fullmatch(r"(?:[*?]|(\w+)(?:-(\w+))?)(?:/(\d+))?", part)
        if not found or found[3] == "0":
            raise ConfigError(f'cron "{text}": "{part}" is no {name}; write *, a number, a-b or a/step.')
        first, last = (_number(found[group], text, name, lowest, highest, names) for group in (1, 2))
        if first is None:
            first, last = lowest, highest
        elif last is None:
            last = highest if found[3] else first
        if last < first:
            raise ConfigError(f'cron "{text}": {name} "{part}" runs backwards; write the smaller number first.')
        values.update(range(first, last + 1, int(found[3] or 1)))
    return frozenset(values)


def _number(word: str | None, text: str, name: str, lowest: int, highest: int, names: dict[str, int]) -> int | None:
    if word is None:
        return None
    value = names.get(word, int(word) if word.isdecimal() else -1)
    if not lowest <= value <= highest:
        choices = f" or {next(iter(names))} to {list(names)[-1]}" if names else ""
        raise ConfigError(f'cron "{text}": "{word}" is no {name}; it goes from {lowest} to {highest}{choices}.')
    return value

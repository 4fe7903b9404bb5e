"""Numbers as a person reads them: one way to write a share, a difference, a count, a duration and a size."""

import math

_MINUS = "\u2212"
_THIN = "\u202f"
"""Narrow no-break space between a number and its unit."""


def percent(share: float, digits: int = 1) -> str:
    """A share between 0 and 1: `83.4 %`."""
    return f"{signed(100 * share, digits, plus=False)}{_THIN}%"


def interval(low: float, high: float) -> str:
    """Ends of an interval of shares: `80.1 to 86.3 %`."""
    return f"{signed(100 * low, 1, plus=False)} to {percent(high)}"


def points(difference: float) -> str:
    """A difference of two shares, in percentage points: `+1.2`."""
    return signed(100 * difference, 1)


def signed(value: float, digits: int = 1, plus: bool = True) -> str:
    """A number with a true minus sign; what rounds to zero has no sign."""
    text = f"{abs(value):,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        return text
    return f"{_MINUS if value < 0 else '+' if plus else ''}{text}"


def count(number: float) -> str:
    """A count: `12,345`; from a million on `1.23 million`."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if abs(number) >= size:
            return f"{number / size:,.3g}{_THIN}{word}"
    return f"{number:,.0f}"


def plural(number: float, noun: str, many: str | None = None) -> str:
    """`1 question`, `2 questions`."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"


def short(value: float) -> str:
    """A number on an axis or in a line of facts: three significant digits, `k`, `M` and `G` above, powers of ten far below."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "not a number" if math.isnan(value) else "infinite"
    size = abs(value)
    if size < 1e-3:
        exponent = math.floor(math.log10(size) + 1e-9)
        return f"{_number(value / 10.0**exponent)}e{_MINUS}{-exponent}"
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{_number(value / unit)}{letter}"
    return _number(value)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", _MINUS) if abs(value) < 1000 else f"{value:,.0f}".replace("-", _MINUS)


def duration(seconds: float) -> str:
    """`48 s`, `5 min 12 s`, `3 h 20 min`, `4 days 6 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}{_THIN}s"
    for size, unit, below, smaller in ((86400, "days", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            unit = "day" if unit == "days" and whole // size == 1 else unit
            return f"{whole // size}{_THIN}{unit}" + (f" {rest}{_THIN}{smaller}" if rest else "")
    raise AssertionError("every number of seconds is below or above a minute")


def size(num_bytes: float) -> str:
    """A file size in decimal units: `21.3 MB`."""
    for unit, letters in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.3g}{_THIN}{letters}"
    return f"{num_bytes:.0f}{_THIN}bytes"

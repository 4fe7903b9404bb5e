"""Values as a controller in Go writes them back, so that it can change one field of a TrainJob without touching the others.

Kueue reads a TrainJob, adds its own patch and writes the whole object: what is empty is left out then, and a quantity gets the spelling
of Kubernetes' `resource.Quantity`. Where the launcher wrote it otherwise, Trainer refuses the update ("spec.trainer: field is
immutable"), and the job waits in its queue for ever.
"""

from typing import Any

_DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")
_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def without_empty(value: Any) -> Any:
    """The same without empty texts, lists and mappings in it, which in Kubernetes' types mean the same as none."""
    if isinstance(value, dict):
        kept = {name: without_empty(one) for name, one in value.items()}
        return {name: one for name, one in kept.items() if one not in ("", [], {}, None)}
    if isinstance(value, list):
        return [without_empty(one) for one in value]
    return value


def canonical_quantity(text: str) -> str:
    """A quantity in its one canonical spelling: no fraction, the largest suffix that leaves none (1000m is 1, 1.5Gi is 1536Mi).

    What is no quantity stays as it is: the API server refuses it and says why.
    """
    from kubernetes.utils import parse_quantity

    try:
        amount = parse_quantity(text.strip())
    except ValueError:
        return text
    if text.strip().endswith("i") and amount == amount.to_integral_value() and abs(amount) >= 1024:
        suffix, number = "", int(amount)
        for larger in _BINARY:
            if number % 1024:
                break
            suffix, number = larger, number // 1024
        return f"{number}{suffix}"
    units = int((amount * 10**9).to_integral_value(rounding="ROUND_CEILING"))  # nothing is finer, as in Kubernetes
    power = 0
    while units and units % 1000 == 0 and power < len(_DECIMAL) - 1:
        units, power = units // 1000, power + 1
    return f"{units}{_DECIMAL[power]}" if units else "0"

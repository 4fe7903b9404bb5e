"""The gate: may a candidate become champion? One sentence a benchmark, and one for the whole.

A benchmark passes if it reaches the policy's minimum and does not fall behind the champion by more than the policy allows. Only
results on equal questions (`benchmark_digest`) in the same mode are compared. Standard library and contracts only.
"""

from collections.abc import Sequence

from model.contracts.checkpoint import ModelManifest
from model.contracts.evaluation import Comparison, GateDecision, Result
from model.contracts.recipe import GatePolicy

_ROUNDING = 1e-9
"""A score that equals its bound passes, whatever the order in which it was summed."""


def decide(
    policy: GatePolicy,
    candidate: list[Result],
    champion: list[Result] | None,
    champion_version: str | None,
    model: ModelManifest,
) -> GateDecision:
    """Judge a candidate's results against the policy and the champion's results.

    Args:
        champion: None where there is no champion yet; then the minimum scores decide alone.
        champion_version: Its version in the registry.
        model: The candidate, whose licences may be refused.
    """
    comparisons = [_compare(result, policy, _counterpart(result, champion or [])) for result in candidate]
    asked = {result.name for result in candidate}
    comparisons += [_not_judged(name, minimum) for name, minimum in policy.minimum_scores.items() if name not in asked]
    problems = [one.reason.rstrip(".") for one in comparisons if not one.passed] + _refused(policy, model)
    if not candidate:
        problems.append("no benchmark was judged")
    return GateDecision(
        promote=not problems,
        reason=_sentence(problems, len(candidate), _against(comparisons, champion or [], champion_version, model)),
        model_digest=model.digest,
        champion_version=champion_version,
        comparisons=tuple(comparisons),
    )


def _counterpart(result: Result, champion: Sequence[Result]) -> Result | None:
    """The champion's result on the same questions, scored in the same way."""
    same = (result.name, result.benchmark_digest, result.mode, result.metric)
    return next((one for one in champion if (one.name, one.benchmark_digest, one.mode, one.metric) == same), None)


def _compare(result: Result, policy: GatePolicy, before: Result | None) -> Comparison:
    minimum = policy.minimum_scores.get(result.name)
    allowed = policy.allowed_regression
    score = f"{result.name} has {_percent(result.score)}"
    failures, successes = [], []
    if minimum is not None:
        if result.score < minimum - _ROUNDING:
            failures.append(f"less than the required {_percent(minimum)}")
        else:
            successes.append(f"at least the required {_percent(minimum)}")
    if before is not None:
        if result.score < before.score - allowed - _ROUNDING:
            failures.append(f"more than {100 * allowed:.1f} points below the champion's {_percent(before.score)}")
        elif result.score < before.score - _ROUNDING:
            successes.append(f"not more than {100 * allowed:.1f} points below the champion's {_percent(before.score)}")
        else:
            successes.append(f"not below the champion's {_percent(before.score)}")
    said = " and ".join(failures or successes) or "with no minimum and no champion's result on the same questions"
    return Comparison(
        name=result.name,
        candidate=result.score,
        champion=None if before is None else before.score,
        minimum=minimum,
        passed=not failures,
        reason=f"{score}, {said}.",
    )


def _not_judged(name: str, minimum: float) -> Comparison:
    reason = f"{name} was not judged, though at least {_percent(minimum)} is required."
    return Comparison(name=name, candidate=0.0, champion=None, minimum=minimum, passed=False, reason=reason)


def _refused(policy: GatePolicy, model: ModelManifest) -> list[str]:
    """What the policy's refused licences say of the datasets and bases."""
    refused = {licence.strip().casefold() for licence in policy.refused_licences}
    sources = [("dataset", name, licence) for name, licence in sorted(model.licences.items())]
    sources += [("base", base.name, base.licence) for base in model.bases]
    return [
        f"the licence {licence} of {noun} {name} is refused by the policy"
        for noun, name, licence in sources
        if licence.strip().casefold() in refused
    ]


def _sentence(problems: list[str], num_judged: int, against: str) -> str:
    if problems:
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        return f"Not promoted: {problems[0]}{more}."
    benchmarks = "the one benchmark passes" if num_judged == 1 else f"all {num_judged} benchmarks pass"
    return f"Promoted: {benchmarks}; {against}."


def _against(
    comparisons: Sequence[Comparison], champion: Sequence[Result], champion_version: str | None, model: ModelManifest
) -> str:
    if champion_version is None:
        return "there is no champion yet"
    if any(one.model_digest == model.digest for one in champion):
        return f"this very model is champion version {champion_version}"
    if any(one.champion is not None for one in comparisons):
        return f"compared with champion version {champion_version}"
    return f"champion version {champion_version} has no result on the same questions"


def _percent(score: float) -> str:
    return f"{100 * score:.1f} %"

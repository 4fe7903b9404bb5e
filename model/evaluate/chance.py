"""What a guess would score: the level that a model must leave below itself.

A guess does not look at the picture, but it reads the question: within each group it takes the better of a uniform guess over the
closed choices and one constant answer, the most frequent one. That constant is chosen on the very questions it is scored on, so
small groups are guessed at together: of three questions a constant always gets one right.
"""

from collections import Counter
from collections.abc import Sequence

from model.evaluate.questions import Question, Rule
from model.evaluate.scores import Metric

_MIN_GROUP = 20
_NUM_CONSTANTS = 3


def chance_of(questions: Sequence[Question], metric: Metric, rule: Rule) -> tuple[float, dict[str, float]]:
    """Score of a guess over all questions, and by group."""
    groups: dict[str, list[Question]] = {}
    for one in questions:
        groups.setdefault(one.group, []).append(one)
    if rule == "zero":
        return 0.0, dict.fromkeys(sorted(groups), 0.0)
    by_group = {name: _best_guess(groups[name], metric) for name in sorted(groups)}
    small = [one for members in groups.values() if len(members) < _MIN_GROUP for one in members]
    total = sum(by_group[name] * len(members) for name, members in groups.items() if len(members) >= _MIN_GROUP)
    total += _best_guess(small, metric) * len(small) if small else 0.0
    return total / len(questions), by_group


def _best_guess(questions: Sequence[Question], metric: Metric) -> float:
    counts = Counter(text for one in questions for text in one.expected)
    constants = [text for text, _ in counts.most_common(_NUM_CONSTANTS)]
    guesses = [[(text,) for _ in questions] for text in constants] + [[one.choices for one in questions]]
    return max(sum(map(lambda o, t: _mean_score(o, t, metric), questions, said)) / len(questions) for said in guesses)


def _mean_score(question: Question, said: Sequence[str], metric: Metric) -> float:
    return sum(metric.judge(text, question).score for text in said) / len(said) if said else 0.0

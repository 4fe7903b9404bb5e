"""The gate's truth table: minimum scores, the champion, what may be compared, and refused licences."""

import pytest

from model.contracts.checkpoint import BaseModel
from model.contracts.recipe import GatePolicy
from model.evaluate.gate import decide
from tests.model.evaluate.asking import result
from tests.support.judged import manifest_of

POLICY = GatePolicy(minimum_scores={"vqa": 0.5}, allowed_regression=0.02)


@pytest.mark.parametrize(
    ("score", "champion", "promote", "words"),
    [
        (0.60, None, True, "vqa has 60.0 %, at least the required 50.0 %."),
        (0.50, None, True, "at least the required 50.0 %"),
        (0.49, None, False, "vqa has 49.0 %, less than the required 50.0 %."),
        (0.60, 0.55, True, "and not below the champion's 55.0 %."),
        (0.60, 0.62, True, "not more than 2.0 points below the champion's 62.0 %."),
        (0.60, 0.63, False, "vqa has 60.0 %, more than 2.0 points below the champion's 63.0 %."),
        (0.49, 0.30, False, "less than the required 50.0 %"),  # better than the champion is not enough
        (0.40, 0.90, False, "less than the required 50.0 % and more than 2.0 points below the champion's 90.0 %."),
    ],
)
def test_a_benchmark_needs_its_minimum_and_must_not_fall_behind(score, champion, promote, words):
    before = None if champion is None else [result("vqa", champion)]
    decision = decide(POLICY, [result("vqa", score)], before, None if before is None else "3", manifest_of())
    assert decision.promote is promote
    assert decision.comparisons[0].passed is promote
    assert words in decision.comparisons[0].reason
    assert decision.comparisons[0].champion == champion
    assert decision.reason.startswith("Promoted: " if promote else "Not promoted: ")


def test_a_regression_of_exactly_the_allowed_size_passes_whatever_the_rounding():
    policy = GatePolicy(allowed_regression=0.1)
    assert decide(policy, [result("vqa", 0.7)], [result("vqa", 0.8)], "1", manifest_of()).promote


@pytest.mark.parametrize(
    "change", [{"benchmark_digest": "f" * 64}, {"mode": "sphinx"}, {"metric": "another"}, {"name": "other"}]
)
def test_only_equal_questions_scored_in_the_same_way_are_compared(change):
    fields = {"model_digest": "e" * 64, **change}
    before = result(fields.pop("name", "vqa"), 0.99, **fields)
    decision = decide(POLICY, [result("vqa", 0.6)], [before], "3", manifest_of())
    assert decision.promote
    assert decision.comparisons[0].champion is None
    assert decision.reason == "Promoted: the one benchmark passes; champion version 3 has no result on the same questions."


def test_a_benchmark_without_minimum_or_champion_passes_and_says_so():
    decision = decide(GatePolicy(), [result("vqa", 0.1)], None, None, manifest_of())
    assert decision.promote
    assert "no minimum" in decision.comparisons[0].reason
    assert decision.reason == "Promoted: the one benchmark passes; there is no champion yet."


def test_one_benchmark_that_fails_closes_the_gate_and_is_named():
    judged = [result("vqa", 0.6), result("boxes", 0.2), result("pope", 0.1)]
    before = [result("boxes", 0.5), result("pope", 0.9)]
    decision = decide(POLICY, judged, before, "3", manifest_of())
    assert [one.passed for one in decision.comparisons] == [True, False, False]
    assert decision.reason == ("Not promoted: boxes has 20.0 %, more than 2.0 points below the champion's 50.0 % (1 more).")


def test_a_benchmark_with_a_minimum_that_was_not_judged_closes_the_gate():
    decision = decide(POLICY, [result("pope", 0.9)], None, None, manifest_of())
    assert not decision.promote
    assert "vqa was not judged" in decision.reason
    assert not decide(GatePolicy(), [], None, None, manifest_of()).promote


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"licences": {"cells": "MIT", "web": "cc-by-nc-4.0"}}, "the licence cc-by-nc-4.0 of dataset web is refused"),
        ({"bases": (BaseModel(name="b", uri="u", digest="0", licence="CC-BY-NC-4.0"),)}, "of base b is refused"),
    ],
)
def test_a_refused_licence_of_data_or_base_closes_the_gate(fields, words):
    policy = GatePolicy(refused_licences=("CC-BY-NC-4.0",))
    decision = decide(policy, [result("vqa", 0.9)], None, None, manifest_of(**fields))
    assert not decision.promote
    assert words in decision.reason
    assert decide(policy, [result("vqa", 0.9)], None, None, manifest_of()).promote


def test_a_model_that_is_champion_already_is_said_to_be():
    decision = decide(POLICY, [result("vqa", 0.6)], [result("vqa", 0.6)], "3", manifest_of())
    assert decision.reason == "Promoted: the one benchmark passes; this very model is champion version 3."
    other = decide(POLICY, [result("vqa", 0.6)], [result("vqa", 0.6, model_digest="e" * 64)], "3", manifest_of())
    assert other.reason == "Promoted: the one benchmark passes; compared with champion version 3."


def test_every_reason_is_one_sentence():
    decision = decide(POLICY, [result("vqa", 0.4), result("b", 0.2)], [result("b", 0.9)], "2", manifest_of())
    for reason in [decision.reason, *(one.reason for one in decision.comparisons)]:
        assert reason.endswith(".")
        assert "\n" not in reason
        assert ". " not in reason

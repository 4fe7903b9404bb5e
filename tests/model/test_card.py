"""The model card: its front matter is YAML, its numbers are the results', and no name can change its structure."""

import re

import yaml

from model.card import model_card
from tests.support import report_inputs as make


def card(**fields) -> str:
    arguments = {
        "recipe": make.recipe(),
        "model": make.model(),
        "results": [make.result()],
        "decision": make.decision(),
        **fields,
    }
    return model_card(**arguments).replace("\u202f", " ")


def outside_code(text: str) -> list[str]:
    """Lines of the body that Markdown reads as words."""
    parts = text.split("---\n", 2)[2].split("\n```")
    return "\n".join(parts[::2]).splitlines()


def front_matter(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_front_matter_names_library_task_and_scores():
    fields = front_matter(card(results=[make.result(score=0.6)]))
    assert (fields["library_name"], fields["pipeline_tag"]) == ("transformers", "image-text-to-text")
    (scored,) = fields["model-index"][0]["results"]
    assert scored["dataset"] == {"type": "refcoco", "name": "find"}
    assert scored["metrics"][0]["value"] == 0.6


def test_a_licence_is_only_named_where_data_and_bases_agree():
    assert front_matter(card())["license"] == "other"
    assert front_matter(card(model=make.model(licences={"scenes": "Apache-2.0"})))["license"] == "apache-2.0"
    assert "Apache-2.0, CC-BY-4.0" in card()


def test_scores_come_with_interval_chance_questions_and_unreadable_answers():
    row = "| find | accuracy at IoU 0.5 | official | 60.0 % | 55.0 to 65.0 % | 0.0 % | 400 | 8 |"
    assert row in card(results=[make.result(score=0.6, half=0.05)])


def test_the_ways_to_use_it_name_the_alias_that_the_gate_gives():
    text = card(registered_name="my-model")
    assert 'download_artifacts("models:/my-model@champion")' in text
    assert 'mlflow.pyfunc.load_model("models:/my-model@champion")' in text
    assert "sphinx-x chat models:/my-model@champion" in text
    assert "models:/sphinx-x-nano@candidate" in card(decision=make.decision(promote=False))


def test_data_and_bases_are_listed_with_their_licences():
    assert "| scenes | CC-BY-4.0 |" in card()
    assert "| scenes | coco\\_detection | 1,200 | 2 | 1,100 | 130 | CC-BY-4.0 |" in card(corpus=make.corpus())
    assert "| nano-base | Apache-2.0 | bbbbbbbbbbbb |" in card()


def test_a_score_at_chance_is_named_among_the_limits():
    assert "not above chance" not in card()
    assert "On find its score is not above chance" in card(results=[make.result(score=0.6, half=0.05, chance=0.58)])


def test_all_digests_are_in_the_card():
    assert all(digest in card() for digest in ("e" * 64, "1" * 64, "c" * 64, "2" * 64, make.recipe().content_digest()))


def test_no_name_can_change_the_cards_structure():
    attack = "x | y |\n\n# heading <script>alert(1)</script> [a](javascript:b) `c` ---"
    bases = ({"name": attack, "uri": "", "digest": attack, "licence": attack},)
    hostile = card(
        model=make.model(bases=bases, licences={attack: attack}),
        results=[make.result(name=attack, metric=attack)],
        decision=make.decision(reason=attack),
        corpus=make.corpus(make.dataset(name=attack, family=attack, licence=attack)),
        registered_name=attack,
    )
    assert front_matter(hostile)["model-index"][0]["name"] == attack
    words, harmless = outside_code(hostile), outside_code(card(corpus=make.corpus()))
    assert [line for line in words if line.startswith("## ")] == [line for line in harmless if line.startswith("## ")]
    assert len(words) == len(harmless)
    assert not any("<script>" in line or re.search(r"(?<!\\)\]\((?!https)", line) for line in words)

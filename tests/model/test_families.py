"""A family as people write it: short where it can be, refused in one sentence where it is wrong."""

import pytest

from model.contracts.family import MOST_MEMBERS
from model.errors import ConfigError
from model.families import family_from_text, family_text, registered_name
from tests.support.report_inputs import recipe as some_recipe


def test_a_members_name_is_its_variant_unless_it_says_otherwise():
    family = family_from_text("tiny:\ncalm: {variant: intern2, nodes: 2, overrides: {optimizer: {learning_rate: 1.0e-5}}}")
    assert list(family.members) == ["tiny", "calm"]
    assert (family.members["tiny"].variant, family.members["tiny"].nodes) == ("tiny", 1)
    assert (family.members["calm"].variant, family.members["calm"].nodes) == ("intern2", 2)
    assert family.members["calm"].overrides == {"optimizer": {"learning_rate": 1e-5}}


def test_one_line_is_enough_for_a_form_that_has_one():
    assert list(family_from_text("{tiny: {}, moe: {nodes: 4}}").members) == ["tiny", "moe"]


def test_what_is_written_is_read_back():
    family = family_from_text("tiny: {}\ncalm: {variant: nano, base_uri: /b, processes_per_node: 2, overrides: {epochs: 2}}")
    assert family_from_text(family_text(family)) == family


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("large: {}", "member large: there is no variant 'large'; choose one of nano, tiny"),
        ("tiny: {node: 2}", "member tiny: unknown field 'node'; the fields are base_uri, nodes"),
        ("tiny: {nodes: 0}", "member tiny: field 'nodes': .*greater than or equal to 1"),
        ("tiny: 3", "member tiny: its settings are '3'; give a mapping"),
        ("tiny: {registered_name: Mine!}", "member tiny: field 'registered_name'"),
        ("Tiny: {variant: tiny}", "'Tiny' is no name of a member; use lower-case letters"),
        ("tiny: {}\ntiny: {nodes: 2}", "tiny is given twice"),
        ("tiny: {overrides: {epochs: 1, epochs: 2}}", "epochs is given twice"),
        ("tiny, moe", "holds no members but 'tiny, moe'; write one a line, for example 'tiny: {}'"),
        ("", "holds no members"),
        ("tiny: {", "is not YAML"),
        ("\n".join(f"a{n}: {{variant: nano}}" for n in range(MOST_MEMBERS + 1)), "has 9 members; give 8 or fewer"),
    ],
)
def test_what_is_wrong_is_one_sentence_that_names_the_member(text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        family_from_text(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the family")


def test_members_are_registered_under_names_of_their_own():
    member = family_from_text("calm: {variant: nano}").members["calm"]
    named = family_from_text("calm: {variant: nano, registered_name: mine}").members["calm"]
    recipe = some_recipe()
    assert registered_name(recipe, "calm", member) == "sphinx-x-calm"
    assert registered_name(recipe.model_copy(update={"model_name": "cats"}), "calm", member) == "cats-calm"
    assert registered_name(recipe, "calm", named) == "mine"

"""The alias champion moves forwards, under the gate, past the champion that a version was compared with; and never otherwise."""

import pytest

from components.promote import logic
from model.contracts.release import Tag
from model.errors import RegistryError


@pytest.fixture
def name(mlflow, request):
    """A registered name for each test, with versions made by `judged`."""
    mlflow.create_registered_model(request.node.name)
    return request.node.name


def judged(mlflow, name, gate="open", against=""):
    tags = {Tag.GATE: gate, Tag.GATE_REASON: "held has 30.0 %.", Tag.GATE_CHAMPION: against}
    return str(mlflow.create_model_version(name, "s3://somewhere/model", tags=tags).version)


def champion(mlflow, name):
    return str(mlflow.get_model_version_by_alias(name, "champion").version)


def test_the_first_version_that_passes_becomes_champion(mlflow, name):
    first = judged(mlflow, name)
    assert logic.run(name, first) == ("1", True, "It replaces no champion.")
    assert champion(mlflow, name) == "1"


def test_promoting_again_changes_nothing(mlflow, name):
    first = judged(mlflow, name)
    logic.run(name, first)
    assert logic.run(name, first) == ("1", False, "It is champion already.")


def test_a_better_version_replaces_the_champion_that_it_was_compared_with(mlflow, name):
    logic.run(name, judged(mlflow, name))
    assert logic.run(name, judged(mlflow, name, against="1")) == ("2", True, "It replaces version 1.")


def test_an_older_version_never_comes_back(mlflow, name):
    older = judged(mlflow, name)
    logic.run(name, judged(mlflow, name))
    assert logic.run(name, older) == ("2", False, "The later version 2 stays champion.")
    assert champion(mlflow, name) == "2"


def test_a_version_that_did_not_pass_stays_candidate(mlflow, name):
    closed = judged(mlflow, name, gate="closed")
    with pytest.raises(
        RegistryError, match=r"^version 1 of .* did not pass the gate \(held has 30.0 %.\); it stays candidate.$"
    ):
        logic.run(name, closed)


def test_two_runs_that_were_compared_with_the_same_champion_do_not_overtake_each_other(mlflow, name):
    logic.run(name, judged(mlflow, name))
    second, third = judged(mlflow, name, against="1"), judged(mlflow, name, against="1")
    logic.run(name, second)
    with pytest.raises(
        RegistryError, match="was judged against version 1, but the champion is now version 2; run the pipeline again"
    ):
        logic.run(name, third)
    assert champion(mlflow, name) == "2"


def test_a_version_that_does_not_exist_is_named(mlflow, name):
    with pytest.raises(RegistryError, match=f"^cannot promote {name} version 9: "):
        logic.run(name, "9")

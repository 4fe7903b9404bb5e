"""The tasks that a family run has for itself: every member is checked before the first is trained, and all are compared in order."""

import pytest

from components.compare import logic as compare
from components.register import logic as register
from components.shared import platform
from components.validate import family_logic
from model.contracts.checkpoint import BaseModel
from model.contracts.family import CheckedFamily, CheckedMember, Compared, JudgedMember
from model.errors import ConfigError, ContractError, DataError
from model.train.config import TrainConfig, load_train_config
from tests.support.html_page import parse, section
from tests.support.released import judge
from tests.support.small_world import write_recipe


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Recipe and store of a small world, with a base; MLflow in a database of its own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    base = BaseModel(name="some-base", uri="base", digest="d" * 64, licence="MIT")
    (tmp_path / "base").mkdir()
    (tmp_path / "base/base.json").write_text(base.model_dump_json())
    return {"recipe_uri": str(write_recipe(tmp_path)), "store_uri": str(tmp_path / "store"), "base": tmp_path / "base"}


def check(places, family: str, device: str = "cpu", mode: str = "official", here: bool = False) -> family_logic.Checked:
    given = family.replace("BASE", f"base_uri: {places['base']}, processes_per_node: 2")
    return family_logic.check(places["recipe_uri"], places["store_uri"], given, device, mode, here)


def test_the_plan_hands_on_each_members_inputs(places):
    outputs, summary = check(places, "{nano: {BASE}, calm: {variant: nano, overrides: {epochs: 3}, BASE}}")
    assert outputs.member_names == ["nano", "calm"]
    assert outputs.dataset_names == ["cups", "named", "talk"]
    calm = family_logic.inputs_of(outputs.family_json, "calm")
    assert TrainConfig.model_validate_json(calm.train_config_json).epochs == 3
    assert (calm.registered_name, calm.base_digest) == ("sphinx-x-calm", "d" * 64)
    assert (calm.num_nodes, calm.processes_per_node, calm.eval_gpus) == (1, 2, 0)
    assert "| calm | nano | 1 × 2 | 3 |" in summary


def test_members_evaluate_on_the_gpus_that_their_variant_needs(places):
    outputs, _ = check(places, "{tiny: {BASE}, moe: {BASE}}", device="gpu")
    gpus = [family_logic.inputs_of(outputs.family_json, name).eval_gpus for name in outputs.member_names]
    assert gpus == [1, 2]


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("{nano: {BASE}, calm: {variant: nano, overrides: {epoch: 3}, BASE}}", "member calm: .*unknown field 'epoch'"),
        ("{nano: {BASE, nodes: 3}}", "member nano: 6 processes cannot share packs_multiple"),
        (
            "{nano: {BASE}, same: {variant: nano, BASE}}",
            "nano and same are the same training; give one of them other overrides",
        ),
        (
            "{nano: {BASE}, calm: {variant: nano, registered_name: sphinx-x-nano, overrides: {epochs: 3}, BASE}}",
            "nano and calm would both be registered as sphinx-x-nano",
        ),
        ("{large: {BASE}}", "member large: there is no variant 'large'"),
    ],
)
def test_the_plan_names_the_member_and_what_is_wrong_with_it(places, family, words):
    with pytest.raises((ConfigError, DataError), match=words) as caught:
        check(places, family)
    assert "\n" not in str(caught.value)


def test_speed_alone_makes_no_other_member(places):
    # RUN_SHAPE does not decide a result: both would write into the same run's folder at once.
    with pytest.raises(ConfigError, match="are the same training"):
        check(places, "{nano: {BASE}, busy: {variant: nano, overrides: {loader: {workers: 1}}, BASE}}")


def test_a_base_that_is_missing_is_named_with_its_member(places):
    with pytest.raises(DataError, match="member nano: .*base.json is missing"):
        check(places, "{nano: {processes_per_node: 2}}")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two judged models in one store."""
    folder = tmp_path_factory.mktemp("two")
    store = str(folder / "a/store")
    return {name: judge(folder / name, seed, score, store) for name, seed, score in (("a", 20, 0.75), ("b", 21, 0.6))}


@pytest.fixture
def compared(two, mlflow):
    """Arguments of the comparison, after both were registered."""
    members, judged, versions = [], [], []
    for name, one in two.items():
        given = one.arguments(name=f"family-{name}", promote=name == "a")
        versions.append(register.run(**given).version)
        config = load_train_config("nano", {"epochs": len(members) + 1}).model_dump_json()
        members.append(
            CheckedMember(
                name=name, variant="nano", num_nodes=1, processes_per_node=2, train_config_json=config, base_uri="b",
                base_digest="d", registered_name=f"family-{name}", eval_gpus=0,
            )
        )  # fmt: skip
        judged.append(JudgedMember(name=name, model_uri=one.model_uri, result_uris=tuple(given["result_uris"])).to_json())
    return {
        "recipe_json": two["a"].recipe.to_json(),
        "family_json": CheckedFamily(device="cpu", members=tuple(members)).to_json(),
        "corpus_uri": two["a"].corpus_uri,
        "judged": judged,
        "run_uris": [one.run_uri for one in two.values()],
        "versions": versions,
        "run_id": "run-7",
    }


def test_the_comparison_reads_results_gates_and_logs_of_every_member(two, compared):
    made = compare.run(**compared)
    members = Compared.from_json(made.compared_json, "it").members
    assert [(one.name, one.registered_name, one.gate) for one in members] == [
        ("a", "family-a", "open"), ("b", "family-b", "closed"),
    ]  # fmt: skip
    assert [one.model_digest for one in members] == [one.manifest.digest for one in two.values()]
    assert made.figures == {"a/held": 0.75, "b/held": 0.6}
    page = parse(made.html)
    assert "held has 30.0 %, less than the required 50.0 %." in section(page, "models").text
    curves = section(page, "curves")
    assert curves.all("path", "m0")
    assert curves.all("path", "m1")


def test_pages_are_linked_where_the_platform_says_where_they_are(compared, monkeypatch, mlflow):
    monkeypatch.setenv(platform.MLFLOW_UI, "https://mlflow.example.org/")
    monkeypatch.setenv(platform.KUBEFLOW_UI, "https://kubeflow.example.org")
    page = section(parse(compare.run(**compared).html), "models")
    version = mlflow.get_model_version("family-a", compared["versions"][0])
    experiment = mlflow.get_run(version.run_id).info.experiment_id
    model_id = version.source.removeprefix("models:/")
    assert [link.attributes["href"] for link in page.all("a")][:3] == [
        f"https://mlflow.example.org/#/models/family-a/versions/{version.version}",
        f"https://mlflow.example.org/#/experiments/{experiment}/runs/{version.run_id}",
        f"https://mlflow.example.org/#/experiments/{experiment}/models/{model_id}/artifacts",
    ]
    assert page.all("a")[-1].attributes["href"] == "https://kubeflow.example.org/#/runs/details/run-7"


def test_lists_that_are_not_of_these_members_are_refused(compared):
    with pytest.raises(ContractError, match="not those of the members a, b"):
        compare.run(**{**compared, "judged": compared["judged"][::-1]})
    with pytest.raises(ContractError, match="run the pipeline again"):
        compare.run(**{**compared, "versions": compared["versions"][:1]})

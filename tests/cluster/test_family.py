"""A family run's tasks as pods of their real images, by the command that KFP's launcher gives them: two members, each with a TrainJob of its
own, judged, registered and compared. Tasks that both pipelines share are in tests/cluster/test_components.py.
"""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from model.contracts.family import Family, Member
from model.families import family_text
from tests.cluster.launcher import Launcher, Ran
from tests.cluster.support import kubectl
from tests.cluster.test_components import launcher as train_launcher
from tests.cluster.test_components import recipe_uri
from tests.support.html_page import parse, section
from tests.support.small_world import OVERRIDES

__all__ = ["recipe_uri", "train_launcher"]

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

PREFIX = f"family-{uuid.uuid4().hex[:6]}"
MEMBERS = {
    name: Member(variant="nano", processes_per_node=1, registered_name=f"{PREFIX}-{name}", overrides={**OVERRIDES, **more})
    for name, more in {"short": {"epochs": 1}, "fast": {"epochs": 1, "optimizer": {"learning_rate": 1e-2}}}.items()
}


@pytest.fixture(scope="module")
def launcher(train_launcher: Launcher) -> Launcher:
    return Launcher(train_launcher.namespace, train_launcher.s3, train_launcher.run_id, "sphinx-x-family")


def plan(launcher: Launcher, recipe_uri: str, family: str, **how: Any) -> Ran:
    inputs = {"recipe_uri": recipe_uri, "store_uri": "", "family": family, "device": "cpu", "mode": "official"}
    return launcher.run("validate-family", inputs, **how)


@pytest.fixture(scope="module")
def checked(launcher: Launcher, recipe_uri: str) -> Ran:
    # Both members start from one base, which the store has under their variant's name.
    return plan(launcher, recipe_uri, family_text(Family(members=MEMBERS)))


@pytest.fixture(scope="module")
def data(checked: Ran) -> dict[str, str]:
    return {name: checked.parameters[name] for name in ("recipe_json", "store_uri")}


@pytest.fixture(scope="module")
def corpus_uri(launcher: Launcher, checked: Ran, data: dict[str, str]) -> str:
    with ThreadPoolExecutor(2) as pool:
        ran = pool.map(
            lambda name: launcher.run("unify", {"dataset": name, **data}, item=name), checked.parameters["dataset_names"]
        )
        uris = [one.parameters["Output"] for one in ran]
    return launcher.run("merge", {"dataset_uris": uris, **data}).parameters["Output"]


@pytest.fixture(scope="module")
def rows(launcher: Launcher, checked: Ran, corpus_uri: str, data: dict[str, str]) -> dict[str, dict[str, Ran]]:
    """All tasks of each member, in the order of the DAG; the members side by side."""
    names = checked.parameters["member_names"]
    with ThreadPoolExecutor(len(names)) as pool:
        made = pool.map(lambda name: row(launcher, checked, corpus_uri, data, name), names)
        return dict(zip(names, made, strict=True))


def row(launcher: Launcher, checked: Ran, corpus_uri: str, data: dict[str, str], name: str) -> dict[str, Ran]:
    made = {"member": launcher.run("member", {"family_json": checked.parameters["family_json"], "name": name}, item=name)}
    settings = dict(made["member"].parameters)
    registered_name, gpus = settings.pop("registered_name"), settings.pop("eval_gpus")
    task_config = {"resources": {"limits": {"memory": "4Gi"}}, "env": [{"name": "OMP_NUM_THREADS", "value": "1"}]}
    given = {
        "corpus_uri": corpus_uri,
        "store_uri": data["store_uri"],
        "run_id": launcher.run_id,
        "device": "cpu",
        "member": name,
    }
    made["train"] = launcher.run("train", {**given, **settings, "task_config": task_config}, item=name, seconds=900)
    model_uri, run_uri = (made["train"].parameters[key] for key in ("model_uri", "run_uri"))
    asked = {"member": name, "model_uri": model_uri, "mode": "official", "gpus": gpus, **data}
    made["evaluate"] = launcher.run("evaluate-all", asked, item=name)
    candidate = {
        "recipe_json": data["recipe_json"],
        "corpus_uri": corpus_uri,
        "model_uri": model_uri,
        "run_uri": run_uri,
        "registered_name": registered_name,
        "run_id": launcher.run_id,
        "result_uris": made["evaluate"].parameters["result_uris"],
        "member": name,
    }
    made["report"] = launcher.run("report", {"promote": "when_better", **candidate}, item=name)
    page = {"page": made["report"].artifacts["page"]}
    decision = {"decision_json": made["report"].parameters["decision_json"]}
    made["register"] = launcher.run("register", {**decision, **candidate}, page, item=name)
    return made


@pytest.fixture(scope="module")
def compared(launcher: Launcher, checked: Ran, corpus_uri: str, rows: dict[str, dict[str, Ran]]) -> Ran:
    inputs = {
        "recipe_json": checked.parameters["recipe_json"],
        "family_json": checked.parameters["family_json"],
        "corpus_uri": corpus_uri,
        "judged": [one["evaluate"].parameters["judged_json"] for one in rows.values()],
        "run_uris": [one["train"].parameters["run_uri"] for one in rows.values()],
        "versions": [one["register"].parameters["Output"] for one in rows.values()],
        "run_id": launcher.run_id,
    }
    return launcher.run("compare", inputs)


def test_the_plan_checks_every_member_against_the_cluster(launcher, checked, recipe_uri, s3):
    assert checked.parameters["member_names"] == ["short", "fast"]
    assert checked.parameters["store_uri"] == s3.uri()
    family = f"{{short: {{variant: nano, processes_per_node: 1}}, tiny: {{processes_per_node: 1, base_uri: {s3.uri('bases/nano')}}}}}"
    ran = plan(launcher, recipe_uri, family, item="bad", expect=1)
    assert "member tiny" in ran.logs.strip().splitlines()[-1]


def test_each_member_is_trained_by_a_trainjob_of_its_own(rows, namespace):
    digests = {one["train"].parameters["model_digest"] for one in rows.values()}
    assert len(digests) == 2
    jobs = json.loads(kubectl("-n", namespace, "get", "trainjobs", "-o", "json"))["items"]
    assert len({job["metadata"]["name"] for job in jobs}) == 2
    assert all(job["status"]["conditions"][-1]["type"] == "Complete" for job in jobs)


def test_all_benchmarks_of_a_member_are_judged_in_one_task(rows):
    for one in rows.values():
        assert set(one["evaluate"].artifacts["metrics"].metadata) >= {"cups-held-out", "named-val"}
        assert len(one["evaluate"].parameters["result_uris"]) == 2


def test_the_comparison_names_both_members_and_their_versions(compared, rows):
    page = parse(compared.artifacts["page"].content.decode())
    assert page.one("h1").text == "short, fast"
    models = section(page, "models").text
    assert f"models:/{PREFIX}-short/1" in models
    assert f"models:/{PREFIX}-fast/1" in models
    said = json.loads(compared.parameters["Output"])["members"]
    assert [one["model_digest"] for one in said] == [one["train"].parameters["model_digest"] for one in rows.values()]
    assert compared.artifacts["metrics"].metadata["short/named-val"] == said[0]["scores"]["named-val"]

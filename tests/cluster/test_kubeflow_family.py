"""The family DAG on a real Kubeflow backend: a condition within a loop, and three lists collected out of it, in order.

Needs KFP_ENDPOINT, both images and the chart, as tests/cluster/test_kubeflow_run.py does, whose deployment it uses.
"""

import json
import re
import secrets

import pytest
import yaml

from components.shared import platform
from tests.cluster.support import kubectl
from tests.cluster.test_kubeflow_run import NAMESPACE, command, deployment, pytestmark, recipe
from tests.support.small_world import OVERRIDES

__all__ = ["deployment", "pytestmark", "recipe"]


@pytest.fixture(scope="module")
def prefix() -> str:
    return f"kin-{secrets.token_hex(3)}"


@pytest.fixture(scope="module")
def ran(deployment, recipe, prefix, s3) -> tuple[str, str]:
    """Id of a finished family run, and what the shell said."""
    members = {
        name: {
            "variant": "nano",
            "processes_per_node": 1,
            "registered_name": f"{prefix}-{name}",
            "overrides": {**OVERRIDES, **more},
        }
        for name, more in {"short": {"epochs": 1}, "fast": {"epochs": 1, "optimizer": {"learning_rate": 1e-2}}}.items()
    }
    words = [
        "family",
        recipe,
        "--cluster",
        "--store",
        s3.uri("store"),
        "--device",
        "cpu",
        "--family",
        yaml.safe_dump(members, sort_keys=False),
        "--wait",
    ]
    code, said = command(*words)
    print(said)
    assert code == 0, said
    found = re.search(r"is run ([0-9a-f-]{36})", said)
    assert found
    return found[1], said


def test_the_run_succeeds_and_says_whose_it_is(ran):
    assert "small as short, fast is run" in ran[1]
    assert re.search(r"^done$", ran[1], re.MULTILINE)


def test_each_member_has_a_trainjob_of_its_own_and_a_champion(ran, prefix, mlflow_url, monkeypatch):
    from components.shared.registry import resolve

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    label = f"{platform.PIPELINE_RUN_LABEL}={ran[0]}"
    jobs = json.loads(kubectl("-n", NAMESPACE, "get", "trainjobs", "-l", label, "-o", "json"))["items"]
    assert len({job["metadata"]["name"] for job in jobs}) == 2
    for name in ("short", "fast"):
        # Only the condition within the loop leads to promote.
        assert resolve(f"models:/{prefix}-{name}@champion").version == "1"


def test_the_comparison_was_given_the_members_in_their_order(ran):
    # The task says what it drew; it refuses lists in another order than the family's.
    code, log = command("logs", "--cluster", ran[0], "--task", "compare")
    assert code == 0, log
    assert "has the highest mean score" in log

"""The chart's hooks against Kubeflow: the upload and the schedules of a release's life, and what is said where Kubeflow is not there.

The development cluster has no Kubeflow Pipelines; the tests that need one run where KFP_ENDPOINT names one that pods reach as well.
"""

import os

import pytest

from pipelines.cluster.connection import Connection
from pipelines.cluster.kubeflow import open_kubeflow
from pipelines.cluster.schedules import existing_of
from tests.cluster.release import RELEASE, chart_values, everything_in, helm
from tests.cluster.support import get
from tests.helm.rendering import CHART, merged

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ENDPOINT = os.environ.get("KFP_ENDPOINT", "")
needs_kubeflow = pytest.mark.skipif(
    not ENDPOINT, reason="KFP_ENDPOINT names no Kubeflow Pipelines; its backend is in no package registry"
)
LATER = {"name": "later", "cron": "0 0 2 1 1 *", "paused": True, "parameters": {"data_recipe_uri": "s3://bucket/recipe.yaml"}}
LAST = LATER | {"name": "last"}


@pytest.fixture
def values(s3):
    address = {"mode": "rest", "endpoint": ENDPOINT or "http://nobody.invalid:8888"}
    return chart_values(s3, "chart", kfp=address, pipelines={"serviceAccount": {"create": True}}, reaper={"enabled": False})


def test_without_kubeflow_the_install_fails_in_a_sentence_and_leaves_nothing(namespace, values):
    before = everything_in(namespace)
    nowhere = merged(values, {"kfp": {"endpoint": "http://nobody.invalid:8888", "sync": {"waitSeconds": 1}}})
    done = helm("install", RELEASE, str(CHART), "--namespace", namespace, values=nowhere, check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "http://nobody.invalid:8888" in said, said
    assert "Traceback" not in said
    # The schedules cannot be taken out either; a person who knows that says so.
    refused = helm("uninstall", RELEASE, "--namespace", namespace, check=False)
    assert refused.returncode != 0
    assert "http://nobody.invalid:8888" in refused.stdout + refused.stderr
    assert get(namespace, "job", "sphinx-x-sync") is None  # the second hook has cleared the first one's Job away
    helm("uninstall", RELEASE, "--namespace", namespace, "--no-hooks", "--wait")
    assert everything_in(namespace) <= before


@needs_kubeflow
def test_schedules_follow_the_values_and_go_with_the_release(namespace, values):
    kubeflow = open_kubeflow(Connection.open(ENDPOINT, namespace))

    def schedules() -> dict[str, bool]:
        """Name and whether it is paused, of this release's."""
        mine = [one for one in existing_of(kubeflow) if namespace in one.mark.owner]
        return {one.mark.name: not one.is_enabled for one in mine}

    place = ("--namespace", namespace)
    try:
        helm("install", RELEASE, str(CHART), *place, values=merged(values, {"schedules": [LATER, LAST]}))
        assert schedules() == {"later": True, "last": True}
        assert kubeflow.pipeline("sphinx-x-train")
        helm("upgrade", RELEASE, str(CHART), *place, values=merged(values, {"schedules": [LATER]}))
        assert schedules() == {"later": True}
    finally:
        helm("uninstall", RELEASE, *place, "--wait", "--ignore-not-found")
    assert schedules() == {}
    assert kubeflow.pipeline("sphinx-x-train")

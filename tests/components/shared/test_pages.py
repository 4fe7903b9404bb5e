"""Where people are sent: addresses where the platform says where its interfaces are, else what to look things up by."""

from urllib.parse import unquote

import pytest

from components.register import logic as register
from components.shared import pages, platform
from components.shared.mlflow_client import experiment_id
from tests.support.s3 import free_port

MLFLOW, KUBEFLOW = "https://mlflow.example.org/", "https://kubeflow.example.org/pipeline"


@pytest.fixture
def interfaces(monkeypatch):
    monkeypatch.setenv(platform.MLFLOW_UI, MLFLOW)
    monkeypatch.setenv(platform.KUBEFLOW_UI, KUBEFLOW)
    monkeypatch.setenv(platform.TRAINJOB_UI, "https://look.example.org/{namespace}/trainjobs/{name}")


def test_pages_have_addresses_where_the_platform_says_where_they_are(interfaces):
    assert pages.pipeline_run_page("run-7") == f"{KUBEFLOW}/#/runs/details/run-7"
    assert pages.trainjob_page("vision", "sphinx-x-tiny-1") == "https://look.example.org/vision/trainjobs/sphinx-x-tiny-1"


def test_else_they_say_what_to_look_up():
    assert pages.pipeline_run_page("run-7") == "run-7"
    assert pages.trainjob_page("vision", "sphinx-x-tiny-1") == "kubectl -n vision describe trainjob sphinx-x-tiny-1"


def test_a_training_that_has_not_begun_is_a_search_and_then_its_run(interfaces, judged_model, mlflow):
    experiment = experiment_id(mlflow)
    address = pages.training_run_page("0123abcd")
    assert address.startswith(f"{MLFLOW}#/experiments/{experiment}?searchFilter=")
    assert mlflow.search_runs([experiment], unquote(address.partition("searchFilter=")[2])) == []  # a filter that MLflow takes
    release = register.run(**judged_model.arguments(name="has-pages"))
    run_id = mlflow.get_logged_model(release.model_id).source_run_id
    run = f"{MLFLOW}#/experiments/{experiment}/runs/{run_id}"
    assert pages.training_run_page(judged_model.manifest.run_digest) == run
    assert pages.version_pages("has-pages", "1") == {
        "version": f"{MLFLOW}#/models/has-pages/versions/1",
        "training run": run,
        "report and files": f"{MLFLOW}#/experiments/{experiment}/models/{release.model_id}/artifacts",
    }


def test_a_database_on_this_machine_has_no_pages(mlflow):
    assert pages.training_run_page("0123abcd") == ""
    assert pages.version_pages("anything", "1") == {}


def test_an_mlflow_that_does_not_answer_holds_nobody_up(interfaces, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    assert "does not answer" in pages.training_run_page("0123abcd")


def test_links_in_markdown_and_what_is_no_address_to_be_copied():
    said = pages.as_markdown("Training", {"run": "https://example.org/1", "log": "s3://bucket/log.jsonl", "TrainJob": ""})
    assert said == "### Training\n\n- [run](https://example.org/1)\n- log: `s3://bucket/log.jsonl`\n"

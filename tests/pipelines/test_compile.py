"""The compiled pipeline is up to date and keeps to what the real Kubeflow backend can do (not all that kfp.local can)."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from components import images
from components.shared import platform
from pipelines import compile as compiling
from pipelines.train import CHOICES, NAME

DOCUMENTS: list[dict[str, Any]] = list(yaml.safe_load_all((compiling.COMPILED / f"{NAME}.yaml").read_text()))
IR, PLATFORM = DOCUMENTS
COMPONENTS: dict[str, Any] = IR["components"]
EXECUTORS = {name: one["container"] for name, one in IR["deploymentSpec"]["executors"].items()}
PARAMETERS = IR["root"]["inputDefinitions"]["parameters"]


def dags() -> Iterator[dict[str, Any]]:
    """The root's DAG and all below it."""
    yield IR["root"]["dag"]
    yield from (one["dag"] for one in COMPONENTS.values() if "dag" in one)


def test_generated_files_are_up_to_date():
    assert compiling.out_of_date() == []


def test_a_stale_file_is_named_in_one_sentence_with_the_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compiling, "COMPILED", tmp_path)
    monkeypatch.setattr(compiling, "HERE", tmp_path)
    monkeypatch.setattr(compiling, "SCHEMAS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["compile", "--check"])
    with pytest.raises(SystemExit) as ended:
        compiling.main()
    assert str(ended.value).endswith("out of date; run: make golden, and commit the result.")
    assert f"{NAME}.yaml" in str(ended.value)


def test_a_file_that_nobody_generates_any_more_is_stale():
    stray = compiling.SCHEMAS / "stray.schema.json"
    stray.write_text("{}")
    try:
        assert compiling.out_of_date() == [stray]
    finally:
        stray.unlink()


@pytest.mark.parametrize("name", CHOICES)
def test_a_closed_choice_is_a_dropdown_whose_default_is_one_of_its_values(name):
    assert PARAMETERS[name]["literals"] == list(CHOICES[name])
    assert PARAMETERS[name]["defaultValue"] in CHOICES[name]  # the backend does not check this


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"train_sizes": ("nano",)}, "no pipeline parameter train_sizes"),
        ({"eval_mode": ("a", "b")}, "none of its choices a, b"),
    ],
)
def test_a_choice_that_does_not_fit_the_pipeline_is_refused(choices, words):
    from pipelines.train import train_pipeline

    with pytest.raises(compiling.ConfigError, match=words):
        compiling.compiled_yaml(train_pipeline, choices)


@pytest.mark.parametrize("text", ["1e-4", "10", "0x1f", "1_000", ".5", "nan", "-3"])
def test_a_text_that_looks_like_a_number_is_quoted_for_readers_that_would_take_it_for_one(text):
    dumped = yaml.dump({"defaultValue": text}, Dumper=compiling._QuotingDumper)
    assert dumped == f"defaultValue: '{text}'\n"
    assert yaml.safe_load(dumped) == {"defaultValue": text}


def test_parameters_sort_into_groups_and_say_what_they_are():
    # The form sorts by name and shows no help, so names carry meaning; only the recipe is asked for.
    assert {name.split("_")[0] for name in PARAMETERS} == {"data", "train", "eval", "register"}
    assert all(one.get("description") for one in PARAMETERS.values())
    required = {name for name, one in PARAMETERS.items() if not one.get("isOptional")}
    assert required == {"data_recipe_uri"}


def test_the_exit_handler_is_outermost_and_last():
    tasks = IR["root"]["dag"]["tasks"]
    (handler,) = (name for name, task in tasks.items() if "dag" in COMPONENTS[task["componentRef"]["name"]])
    (last,) = set(tasks) - {handler}
    assert tasks[last]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert tasks[last]["dependentTasks"] == [handler]
    assert "dependentTasks" not in tasks[handler]


def test_loops_are_flat_and_their_items_have_the_type_that_their_body_takes():
    loops = [task for dag in dags() for task in dag["tasks"].values() if "parameterIterator" in task]
    assert len(loops) == 2
    for loop in loops:
        body = COMPONENTS[loop["componentRef"]["name"]]
        item = loop["parameterIterator"]["itemInput"]
        item_type = body["inputDefinitions"]["parameters"][item]["parameterType"]
        for task in body["dag"]["tasks"].values():
            assert not {"parameterIterator", "artifactIterator"} & set(task)
            component = COMPONENTS[task["componentRef"]["name"]]
            taken = [name for name, one in task["inputs"]["parameters"].items() if one.get("componentInputParameter") == item]
            assert taken
            assert all(component["inputDefinitions"]["parameters"][name]["parameterType"] == item_type for name in taken)


def test_loops_run_over_outputs_that_are_typed_lists():
    # An untyped list compiles to the same words, runs in kfp.local, and kills the backend's driver.
    from typing import get_type_hints

    from components.validate.component import validate

    outputs = get_type_hints(validate.python_func)["return"].__annotations__
    for dag in dags():
        for task in dag["tasks"].values():
            if "parameterIterator" in task:
                source = task["inputs"]["parameters"][task["parameterIterator"]["items"]["inputParameter"]]
                # A task's output, or, one group further in, that group's input of the same name.
                name = source.get("componentInputParameter") or "{producerTask}-{outputParameterKey}".format(
                    **source["taskOutputParameter"]
                )
                producer, _, output = name.removeprefix("pipelinechannel--").partition("-")
                assert producer == "validate"
                assert outputs[output].__args__ == (str,)


def test_no_artifact_is_one_of_several():
    for dag in dags():
        for artifact in dag.get("outputs", {}).get("artifacts", {}).values():
            assert len(artifact["artifactSelectors"]) == 1


def test_conditions_compare_texts():
    conditions = [
        t["triggerPolicy"]["condition"]
        for d in dags()
        for t in d["tasks"].values()
        if "condition" in t.get("triggerPolicy", {})
    ]
    assert sorted(conditions) == [
        "inputs.parameter_values['pipelinechannel--prepare-go_on'] == 'yes'",
        "inputs.parameter_values['pipelinechannel--report-gate'] == 'open'",
    ]


def test_every_task_has_the_platforms_settings_and_no_secret_must_exist():
    tasks = PLATFORM["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(tasks) == set(EXECUTORS)
    for name, one in tasks.items():
        (settings,) = one["configMapAsEnv"]
        assert (settings["configMapName"], settings["optional"]) == (platform.SETTINGS_CONFIG_MAP, True), name
        assert [key["envVar"] for key in settings["keyToEnv"]] == list(platform.SETTINGS)
        secrets = {secret["secretName"]: [key["envVar"] for key in secret["keyToEnv"]] for secret in one["secretAsEnv"]}
        assert secrets == {
            platform.S3_SECRET: list(platform.S3_CREDENTIALS),
            platform.MLFLOW_SECRET: list(platform.MLFLOW_CREDENTIALS),
        }
        assert all(secret["optional"] for secret in one["secretAsEnv"])


def test_evaluation_asks_for_the_gpus_of_its_variant():
    (limit,) = (one["resources"]["accelerator"] for one in EXECUTORS.values() if "accelerator" in one.get("resources", {}))
    assert limit["resourceType"] == "nvidia.com/gpu"
    assert "validate-eval_gpus" in limit["resourceCount"]


def test_images_are_placeholders_that_only_the_uploader_can_resolve():
    assert {one["image"] for one in EXECUTORS.values()} == {images.OPS, images.TRAIN}
    # RFC 2606: no registry will ever have this name.
    assert all(image.split("/")[0].endswith(".invalid") for image in (images.OPS, images.TRAIN))


def test_components_install_nothing_and_hold_no_logic():
    for name, one in EXECUTORS.items():
        command = "\n".join(one["command"])
        assert "pip install" not in command, name
        assert "logic." in command, name
        assert len(command.splitlines()) < 90, name


def test_only_placeholders_are_used_that_the_backend_and_kfp_local_replace():
    text = (compiling.COMPILED / f"{NAME}.yaml").read_text()
    used = set(re.findall(r"\{\{\$\.[a-z_]+", text))
    assert used == {"{{$.pipeline_job_uuid", "{{$.inputs"}  # the latter: the number of GPUs of an evaluation


def test_no_task_is_answered_from_a_cache_that_cannot_see_the_store():
    for dag in dags():
        for task in dag["tasks"].values():
            assert not task.get("cachingOptions", {}).get("enableCache")
            assert "retryPolicy" not in task


def test_the_check_of_make_is_the_same_check():
    ended = subprocess.run([sys.executable, "-m", "pipelines.compile", "--check"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")

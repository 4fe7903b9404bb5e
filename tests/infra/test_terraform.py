"""The Terraform module: formatted, valid, its own tests pass with a mocked AWS, and it fits the store's folders and the chart.

Needs the program `terraform` and a folder of provider packages (a filesystem mirror, as `terraform providers mirror` makes one):
SPHINX_X_TERRAFORM_MIRROR names it, else the places where Terraform itself looks are searched. Without them the tests skip.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from model.data.lengths import LENGTHS_FOLDER
from model.train import spec

ROOT = Path(__file__).parents[2]
MODULE, INSTALL = ROOT / "infra/terraform/eks", ROOT / "infra/terraform/install.sh"
PROVIDER = "registry.terraform.io/hashicorp/aws"
PLACES = ("/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins", "/opt/*", "~/.terraform.d/plugins",
          "~/.local/share/terraform/plugins")  # fmt: skip
OUTPUTS = {
    "cluster_name": "a-cluster",
    "region": "us-east-1",
    "store_uri": "s3://a-bucket/sphinx-x",
    "registries": {"ops": "1.dkr.ecr.us-east-1.amazonaws.com/a-cluster/sphinx-x-ops"},
    "service_accounts": {"training": ["kubeflow:sphinx-x-training"], "pipelines": ["kubeflow:pipeline-runner"]},
    "role_arns": {name: f"arn:aws:iam::1:role/{name}" for name in ("autoscaler", "pipelines", "training", "mlflow")},
    "efa_interfaces": {"p5": 32},
}


def mirror() -> Path | None:
    """A folder that holds the AWS provider."""
    if named := os.environ.get("SPHINX_X_TERRAFORM_MIRROR"):
        return Path(named)
    found = [
        path
        for place in PLACES
        for path in Path("/").glob(str(Path(place).expanduser()).lstrip("/"))
        if (path / PROVIDER).is_dir()
    ]
    return found[0] if found else None


needs_terraform = pytest.mark.skipif(
    shutil.which("terraform") is None or mirror() is None,
    reason="no terraform on the PATH, or no mirror with hashicorp/aws (set SPHINX_X_TERRAFORM_MIRROR)",
)


@pytest.fixture(scope="module")
def terraform(tmp_path_factory):
    """Runs terraform on a copy of the module, with the mirror's provider and no network."""
    folder = tmp_path_factory.mktemp("terraform")
    copy = shutil.copytree(MODULE, folder / "eks", ignore=shutil.ignore_patterns(".terraform*"))
    (folder / "terraformrc").write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror()}"\n  }}\n}}\n'
    )
    environment = {**os.environ, "TF_CLI_CONFIG_FILE": str(folder / "terraformrc"), "CHECKPOINT_DISABLE": "1"}

    def run(*arguments: str, inside: str = ".") -> str:
        command = ["terraform", *arguments, "-no-color"]
        ended = subprocess.run(
            command, cwd=copy / inside, env=environment, capture_output=True, text=True, timeout=280, check=False
        )
        assert ended.returncode == 0, (ended.stdout + ended.stderr)[-4000:]
        return ended.stdout

    run("init", "-backend=false")
    return run


@needs_terraform
def test_everything_is_formatted(terraform):
    assert terraform("fmt", "-check", "-recursive") == ""


@needs_terraform
@pytest.mark.parametrize("folder", [".", "examples/small", "examples/large"])
def test_module_and_examples_are_valid(terraform, folder):
    terraform("init", "-backend=false", inside=folder)
    assert "The configuration is valid" in terraform("validate", inside=folder)


@needs_terraform
@pytest.mark.parametrize("file", sorted(path.name for path in (MODULE / "tests").glob("*.tftest.hcl")))
def test_the_modules_own_tests_pass(terraform, file):
    closing = re.search(r"Success! (\d+) passed, 0 failed", terraform("test", f"-filter=tests/{file}"))
    assert closing
    assert int(closing[1]) == (MODULE / "tests" / file).read_text().count('\nrun "')


def test_training_may_write_the_folders_that_the_trainer_writes():
    written = {LENGTHS_FOLDER}
    source = Path(spec.__file__).read_text()
    written |= {re.search(rf'def {name}_uri.*?store_uri, "(\w+)"', source, re.DOTALL)[1] for name in ("run", "model")}  # pyright: ignore
    allowed = re.search(r"training_writes = (\[.*\])", (MODULE / "identity.tf").read_text())
    assert allowed
    assert set(json.loads(allowed[1])) == written


def test_every_file_opens_with_what_it_is_for():
    files = [
        path
        for path in (ROOT / "infra/terraform").rglob("*")
        if path.suffix in (".tf", ".hcl", ".env") and ".terraform" not in str(path)
    ]
    assert len(files) > 12
    assert [path.name for path in files if not re.match(r"# .{30}", path.read_text())] == []


def test_every_variable_and_output_says_what_it_is():
    for path in MODULE.glob("*.tf"):
        for kind, name, body in re.findall(
            r'^(variable|output) "(\w+)" \{\n(.*?)^\}', path.read_text(), re.DOTALL | re.MULTILINE
        ):
            assert "description" in body, name
            assert kind == "output" or re.search(r"^ +type +=", body, re.MULTILINE), name


def printed(tmp_path: Path, outputs: dict, *arguments: str) -> subprocess.CompletedProcess:
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(outputs))
    command = ["bash", str(INSTALL), "--print", "--outputs", str(file), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not on the PATH")


@needs_jq
def test_what_is_installed_is_pinned_and_complete(tmp_path):
    ended = printed(tmp_path, OUTPUTS, "--with-dcgm", "--", "--set", "mlflow.trackingUri=http://mlflow")
    assert ended.returncode == 0, ended.stderr
    installs = [line for line in ended.stdout.splitlines() if "helm upgrade --install" in line]
    names = [line.split("--install ")[1].split()[0] for line in installs]
    assert names == ["nvidia-device-plugin", "aws-efa-k8s-device-plugin", "cluster-autoscaler", "jobset", "kubeflow-trainer",
                     "dcgm-exporter", "sphinx-x"]  # fmt: skip
    assert [line for line in installs[:-1] if not re.search(r"--version v?\d+\.\d+\.\d+", line)] == []
    assert "--set mlflow.trackingUri=http://mlflow" in installs[-1]
    assert "pipeline-runner eks.amazonaws.com/role-arn=arn:aws:iam::1:role/pipelines" in ended.stdout


@needs_jq
def test_what_goes_to_the_chart_are_values_that_it_has(tmp_path):
    line = printed(tmp_path, OUTPUTS).stdout.splitlines()[-1]
    values = yaml.safe_load((ROOT / "helm/sphinx-x/values.yaml").read_text())
    keys = re.findall(r"--set (\S+?)=", line.replace(r"eks\\.amazonaws\\.com/role-arn", "role"))
    assert len(keys) >= 6
    for key in keys:
        place = values
        for part in key.split("."):
            if isinstance(place, dict) and not place and part == "role":
                break  # annotations are free
            assert part in place, key
            place = place[part]


@needs_jq
def test_without_efa_its_plugin_is_left_out(tmp_path):
    assert "efa" not in printed(tmp_path, {**OUTPUTS, "efa_interfaces": {"g5": 0}}).stdout


@needs_jq
@pytest.mark.parametrize("missing", sorted(OUTPUTS))
def test_a_missing_output_is_said_before_anything_is_installed(tmp_path, missing):
    ended = printed(tmp_path, {name: value for name, value in OUTPUTS.items() if name != missing})
    assert ended.returncode != 0
    assert "helm" not in ended.stdout
    assert "the outputs lack" in ended.stderr
    assert missing in ended.stderr


def test_an_unknown_option_is_refused():
    ended = subprocess.run(["bash", str(INSTALL), "--prnt"], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert "unknown option --prnt" in ended.stderr

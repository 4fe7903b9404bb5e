"""The Dockerfiles hold what the project says of them, without building one; `tests/cluster/test_components.py` runs the images."""

import importlib.util
import io
import json
import re
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "infra/images"
NAMES = ("ops", "train")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())


def dockerfile(name: str) -> list[str]:
    """Instructions, each on one line, without comments."""
    text = re.sub(r"^#.*\n", "", (IMAGES / f"{name}.Dockerfile").read_text(), flags=re.MULTILINE)
    return [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]


def last_stage(name: str) -> list[str]:
    lines = dockerfile(name)
    start = max(place for place, line in enumerate(lines) if line.startswith("FROM "))
    return lines[start:]


@pytest.mark.parametrize("name", NAMES)
def test_extras_exist_and_kfp_brings_no_dependencies(name):
    text = "\n".join(dockerfile(name))
    asked = set(re.findall(r"--extra (\S+)", text))
    assert asked <= PROJECT["optional-dependencies"].keys()
    install = re.sub(r"\$INSTALL", "".join(re.findall(r'ARG INSTALL="(.*)"', text)), "\n".join(last_stage(name)))
    (line,) = (line for line in install.splitlines() if line.startswith("RUN") and "kfp.txt" in line)
    assert "--no-deps" in line
    # What the awk in the file picks out of the lock must be there.
    locked = {package["name"] for package in LOCK["package"]}
    assert {"kfp", "kfp-server-api", "setuptools", "torch", "deepspeed"} <= locked


@pytest.mark.parametrize("name", NAMES)
def test_every_package_comes_from_the_lock_with_its_hash(name):
    text = "\n".join(dockerfile(name))
    assert "uv export --quiet --frozen" in text
    # In the text, one per way to install: pip for uv itself, uv for the rest.
    assert text.count("--require-hashes") == text.count("pip install")
    assert "pip install --quiet --disable-pip-version-check --require-hashes -r uv.txt" in text
    pinned = [line for line in (IMAGES / "uv.txt").read_text().splitlines() if line and not line.startswith(("#", " "))]
    assert re.fullmatch(r"uv==[0-9.]+ \\", *pinned)


@pytest.mark.parametrize("name", NAMES)
def test_the_base_is_pinned_and_can_be_replaced(name):
    lines = dockerfile(name)
    assert re.fullmatch(r"ARG BASE=docker\.io/library/python:\d+\.\d+-slim-[a-z]+", lines[0])
    assert all(line.split()[1] == "${BASE}" for line in lines if line.startswith("FROM "))
    default = re.search(r"default_base=(\S+)", (IMAGES / "build.sh").read_text())[1]
    assert lines[0] == f"ARG BASE={default}"
    minor = int(re.search(r":3\.(\d+)", default)[1])
    assert minor >= int(PROJECT["requires-python"].removeprefix(">=3."))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_fetched_by_address_and_nothing_is_secret(name):
    for line in dockerfile(name):
        assert not line.startswith("ADD")
        assert "curl " not in line
        assert "wget " not in line
        assert not re.search(r"(?i)(password|token|secret|access_key)", line), line


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_as_nobody_special_and_our_code_is_the_last_layer(name):
    lines = last_stage(name)
    user = lines.index("USER 65532:65532")
    after = [line.split()[0] for line in lines[user:]]
    assert "RUN" not in after
    assert [line for line in lines[user:] if line.startswith("COPY")] == ["COPY --from=code /app /app"]
    assert not any(line.startswith("ENTRYPOINT") for line in lines)  # KFP's launcher is the one that starts the command
    labels = next(line for line in lines if line.startswith("LABEL"))
    for label in ("source", "revision", "version", "licenses"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert "ENV SPHINX_X_GIT_SHA=${GIT_SHA}" in lines


def test_all_our_packages_are_in_both_images():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for name in NAMES:
        copied = re.findall(r"^COPY (\w+) /app/\w+$", "\n".join(dockerfile(name)), re.MULTILINE)
        assert copied == packages


def test_what_a_build_may_see_is_a_short_list():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert not any(name.startswith((".", "tests", "data", "docs")) for name in let_in)
    for name in NAMES:
        for line in dockerfile(name):
            if line.startswith("COPY") and "--from" not in line:
                for source in line.split()[1:-1]:
                    assert source in let_in, f"{name}: {source} is not let in by .dockerignore"


def test_the_scripts_are_well_formed():
    subprocess.run(["bash", "-n", IMAGES / "build.sh"], check=True)
    unknown = subprocess.run([IMAGES / "build.sh", "opps"], capture_output=True, text=True)
    assert unknown.returncode == 2
    assert "build.sh [ops|train|base|all]" in unknown.stderr


@pytest.fixture(scope="module")
def importer():
    spec = importlib.util.spec_from_file_location("image_import", IMAGES / "import.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def layout(importer, tmp_path):
    """An OCI layout as an engine leaves it: layers compressed, one of them there twice, an older image without a name."""
    import gzip

    (tmp_path / "blobs/sha256").mkdir(parents=True)
    made = importer.Layout(tmp_path)

    def put(content: bytes) -> dict:
        digest, size = made._store(io.BytesIO(content))
        return {"digest": digest, "size": size}

    def image(layers: list[bytes]) -> dict:
        history = [{"created_by": f"step {place}"} for place in range(len(layers))]
        config = {"mediaType": "config", **put(json.dumps({"history": history}).encode())}
        described = [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **put(gzip.compress(layer, mtime=0))}
                     for layer in layers]  # fmt: skip
        return {"mediaType": "manifest", **put(json.dumps({"config": config, "layers": described}).encode())}

    old = image([b"old"])
    new = {**image([b"base", b"empty", b"empty", b"code"]), "annotations": {importer.REF_NAME: "localhost/x:dev"}}
    (tmp_path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [old, new]}))
    return made


def test_a_layout_holds_layers_as_they_are_and_nothing_else(importer, layout):
    layout.unpack("localhost/x:dev")
    layout.remove_unused()
    descriptor, _, *layers = layout.parts("localhost/x:dev")
    assert [layout.blob(layer["digest"]).read_bytes() for layer in layers] == [b"base", b"empty", b"empty", b"code"]
    assert {layer["mediaType"] for layer in layers} == {"application/vnd.oci.image.layer.v1.tar"}
    assert layout.blob(descriptor["digest"]).stat().st_size == descriptor["size"]
    assert len(list((layout.folder / "blobs/sha256").iterdir())) == 5  # manifest, configuration, three layers
    assert len(list(importer.sizes(layout, "localhost/x:dev"))) == 5


def test_only_what_is_missing_travels(importer, layout):
    layout.unpack("localhost/x:dev")
    parts = [part["digest"] for part in layout.parts("localhost/x:dev")]
    archive = io.BytesIO()
    written = importer.write_archive(layout, "localhost/x:dev", set(parts[:-1]), archive)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as opened:
        assert opened.getnames() == ["oci-layout", "index.json", f"blobs/{parts[-1].replace(':', '/')}"]
        index = json.load(opened.extractfile("index.json"))
    assert written == len(b"code")
    assert index["manifests"][0]["annotations"][importer.CONTAINERD_NAME] == "localhost/x:dev"


def test_an_image_of_docker_is_taken_by_its_content(importer, layout):
    import gzip

    archive = io.BytesIO()
    config = json.dumps(
        {"history": [{"created_by": "FROM"}, {"created_by": "ENV", "empty_layer": True}, {"created_by": "COPY"}]}
    )
    listed = [{"Config": "c.json", "RepoTags": ["localhost/x:dev"], "Layers": ["1/layer.tar", "2/layer.tar"]}]
    files = {"c.json": config.encode(), "1/layer.tar": b"base", "2/layer.tar": gzip.compress(b"code", mtime=0),
             "manifest.json": json.dumps(listed).encode()}  # fmt: skip
    with tarfile.open(fileobj=archive, mode="w") as opened:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
    archive.seek(0)
    layout.take_docker_archive("localhost/x:dev", archive)
    layout.unpack("localhost/x:dev")
    layout.remove_unused()
    _, described, *layers = layout.parts("localhost/x:dev")
    assert described["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert [layout.blob(layer["digest"]).read_bytes() for layer in layers] == [b"base", b"code"]
    assert [line.split()[-1] for line in importer.sizes(layout, "localhost/x:dev")] == ["FROM", "COPY", "all"]


def test_an_image_that_was_not_built_is_named_with_the_remedy(importer, layout):
    with pytest.raises(SystemExit, match=r"holds no image localhost/y:dev; build it with infra/images/build\.sh"):
        layout.manifest("localhost/y:dev")

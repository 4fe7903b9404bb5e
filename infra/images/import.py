#!/usr/bin/env python3
"""Bring an image from an OCI layout into a containerd, carrying only what that containerd lacks. Standard library only.

import.py LAYOUT IMAGE [CTR ...]     import under that name; CTR is the command to speak with containerd (default: ctr -n k8s.io)
import.py --share STORE LAYOUT IMAGE [CTR ...]   the same; then layout and containerd, whose root is STORE, hold each blob once
docker save IMAGE | import.py --from-docker LAYOUT IMAGE   put an image of Docker into the layout
import.py --tidy LAYOUT IMAGE        after a push into the layout: store layers as they are, remove what is unused, print sizes

A change of our code is one layer of about a megabyte: it reaches a cluster in a second or two, however large the image is.
"""

import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO

DEFAULT_CTR = ["ctr", "-n", "k8s.io"]
REF_NAME, CONTAINERD_NAME = "org.opencontainers.image.ref.name", "io.containerd.image.name"


class Layout:
    """An OCI layout on disk (image-spec, image-layout.md): index.json, and blobs by digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest.replace(":", "/")

    def manifest(self, image: str) -> dict:
        """The descriptor of an image in the index."""
        index = json.loads((self.folder / "index.json").read_text())
        for descriptor in index["manifests"]:
            if descriptor.get("annotations", {}).get(REF_NAME) == image:
                return descriptor
        sys.exit(f"{self.folder} holds no image {image}; build it with infra/images/build.sh.")

    def parts(self, image: str) -> list[dict]:
        """Descriptors of all that an image consists of: manifest, configuration, layers from the base up."""
        descriptor = self.manifest(image)
        content = json.loads(self.blob(descriptor["digest"]).read_text())
        return [descriptor, content["config"], *content["layers"]]

    def unpack(self, image: str) -> None:
        """Store compressed layers as they are, under the digests that the configuration names.

        Engines compress each layer that they push. They recognise one that is there already only by its uncompressed digest,
        and would compress gigabytes again for every change of our code.
        """
        index = json.loads((self.folder / "index.json").read_text())
        named = self.manifest(image)
        manifest = json.loads(self.blob(named["digest"]).read_text())
        stored: dict[str, tuple[str, int]] = {}
        for layer in manifest["layers"]:
            if layer["mediaType"].endswith("+gzip"):
                packed = layer["digest"]
                if packed not in stored:  # one at a time: there may be no room for all of them twice
                    with gzip.open(self.blob(packed)) as unpacked:
                        stored[packed] = self._store(unpacked)
                    self.blob(packed).unlink()
                layer["digest"], layer["size"] = stored[packed]
                layer["mediaType"] = layer["mediaType"].removesuffix("+gzip")
        digest, size = self._store(BytesIO(json.dumps(manifest).encode()))
        for descriptor in index["manifests"]:
            if descriptor["digest"] == named["digest"]:
                descriptor["digest"], descriptor["size"] = digest, size
        (self.folder / "index.json").write_text(json.dumps(index))

    def _store(self, source: IO[bytes]) -> tuple[str, int]:
        """Write a blob; returns its digest and size."""
        said, size, path = hashlib.sha256(), 0, self.folder / "incoming"
        with path.open("wb") as file:
            while block := source.read(1 << 20):
                said.update(block)
                size += file.write(block)
        digest = f"sha256:{said.hexdigest()}"
        path.rename(self.blob(digest))
        return digest, size

    def take_docker_archive(self, image: str, source: IO[bytes]) -> None:
        """Add an image as `docker save` writes it (any version: by content, not by the names inside)."""
        (self.folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        stored: dict[str, tuple[str, int]] = {}
        with tarfile.open(fileobj=source, mode="r|") as archive:
            for member in archive:
                if member.isfile() and (content := archive.extractfile(member)) is not None:
                    stored[member.name] = self._store(content)
        (listed,) = json.loads(self.blob(stored["manifest.json"][0]).read_text())

        def described(name: str, kind: str) -> dict:
            digest, size = stored[name]
            with self.blob(digest).open("rb") as file:
                packed = "+gzip" if kind.endswith(".tar") and file.read(2) == b"\x1f\x8b" else ""
            return {"mediaType": f"application/vnd.oci.image.{kind}{packed}", "digest": digest, "size": size}

        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described(listed["Config"], "config.v1+json"),
            "layers": [described(name, "layer.v1.tar") for name in listed["Layers"]],
        }
        digest, size = self._store(BytesIO(json.dumps(manifest).encode()))
        named = {"mediaType": manifest["mediaType"], "digest": digest, "size": size, "annotations": {REF_NAME: image}}
        index_file = self.folder / "index.json"
        others = json.loads(index_file.read_text())["manifests"] if index_file.exists() else []
        kept = [one for one in others if one.get("annotations", {}).get(REF_NAME) != image]
        index_file.write_text(json.dumps({"schemaVersion": 2, "manifests": [*kept, named]}))
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def remove_unused(self) -> None:
        """Blobs of images that were replaced."""
        index = json.loads((self.folder / "index.json").read_text())
        # Engines leave the replaced image in the index, without its name.
        index["manifests"] = [descriptor for descriptor in index["manifests"] if REF_NAME in descriptor.get("annotations", {})]
        (self.folder / "index.json").write_text(json.dumps(index))
        names = [descriptor["annotations"][REF_NAME] for descriptor in index["manifests"]]
        wanted = {self.blob(part["digest"]) for name in names for part in self.parts(name)}
        for path in (self.folder / "blobs" / "sha256").iterdir():
            if path not in wanted:
                path.unlink()


def write_archive(layout: Layout, image: str, known: set[str], to: IO[bytes]) -> int:
    """An OCI archive without the known blobs; returns the bytes of those inside."""
    descriptor, *_ = layout.parts(image)
    descriptor = {**descriptor, "annotations": {CONTAINERD_NAME: image, REF_NAME: image.rpartition(":")[2]}}
    index = {"schemaVersion": 2, "manifests": [descriptor]}
    written = 0
    with tarfile.open(fileobj=to, mode="w|") as archive:
        for name, content in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", index)):
            data = json.dumps(content).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, BytesIO(data))
        for digest in dict.fromkeys(part["digest"] for part in layout.parts(image)):
            if digest not in known:
                path = layout.blob(digest)
                archive.add(path, arcname=f"blobs/{digest.replace(':', '/')}")
                written += path.stat().st_size
    return written


def bring(layout: Layout, image: str, ctr: list[str]) -> None:
    """Import an image, at first only what is missing; whole if containerd threw something away in between."""
    listed = subprocess.run([*ctr, "content", "ls", "-q"], capture_output=True, text=True, check=True).stdout.split()
    for known in (set(listed), set()):
        process = subprocess.Popen(
            [*ctr, "images", "import", "--digests=false", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            written = write_archive(layout, image, known, process.stdin)
            process.stdin.close()
        except BrokenPipeError:
            written = 0
        said = process.stdout.read().decode()
        if process.wait() == 0:
            print(f"{image}: {written / 1e6:.1f} MB imported")
            return
    sys.exit(f"ctr could not import {image}: {said.strip()}")


def share(layout: Layout, image: str, store: Path) -> None:
    """Let containerd's blobs, which are named by their content and never written to, be the layout's own files."""
    for part in layout.parts(image):
        ours = layout.blob(part["digest"])
        theirs = store / "io.containerd.content.v1.content/blobs" / part["digest"].replace(":", "/")
        if theirs.exists() and not theirs.samefile(ours) and theirs.stat().st_size == ours.stat().st_size:
            theirs.with_suffix(".shared").hardlink_to(ours)
            theirs.with_suffix(".shared").replace(theirs)


def sizes(layout: Layout, image: str) -> Iterator[str]:
    _, config, *layers = layout.parts(image)
    created_by = [
        step.get("created_by", "")
        for step in json.loads(layout.blob(config["digest"]).read_text())["history"]
        if not step.get("empty_layer")
    ]
    for layer, step in zip(layers, created_by, strict=True):
        yield f"  {layer['size'] / 1e6:8.1f} MB  {layer['digest'][7:19]}  {' '.join(step.split())[:70]}"
    yield f"  {sum(layer['size'] for layer in layers) / 1e6:8.1f} MB  in all"


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--tidy"] and len(arguments) == 3:
        layout = Layout(Path(arguments[1]))
        layout.unpack(arguments[2])
        layout.remove_unused()
        print("\n".join(sizes(layout, arguments[2])))
    elif arguments[:1] == ["--from-docker"] and len(arguments) == 3:
        Layout(Path(arguments[1])).take_docker_archive(arguments[2], sys.stdin.buffer)
    elif arguments[:1] == ["--share"] and len(arguments) >= 4:
        layout = Layout(Path(arguments[2]))
        bring(layout, arguments[3], arguments[4:] or DEFAULT_CTR)
        share(layout, arguments[3], Path(arguments[1]))
    elif len(arguments) >= 2:
        bring(Layout(Path(arguments[0])), arguments[1], arguments[2:] or DEFAULT_CTR)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()

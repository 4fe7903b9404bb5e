"""Packs files into a container image archive that containerd imports; for images that no registry holds.

mkimage.py OUT.tar NAME [--tree FOLDER] [--file SOURCE:TARGET]... --entrypoint PATH [--user UID:GID]

The same input gives the same bytes: owners, times and order are fixed. Format: the archive of `docker save`.
"""

import argparse
import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def neutral(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Owned by root, at no time in particular."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def write_layer(layer: Path, tree: Path | None, files: list[str]) -> None:
    """The image's only layer: the tree, then single files with the folders above them."""
    with tarfile.open(layer, "w") as archive:
        for child in sorted(tree.iterdir()) if tree else []:
            archive.add(child, arcname=child.name, filter=neutral)
        for pair in files:
            source, target = pair.rsplit(":", 1)
            for folder in reversed(Path(target.lstrip("/")).parents[:-1]):
                entry = tarfile.TarInfo(str(folder))
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            archive.add(source, arcname=target.lstrip("/"), filter=neutral)


def write_image(out: Path, name: str, layer: Path, entrypoint: str, user: str) -> None:
    """The archive: configuration, layer, and the manifest that names both."""
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Env": [PATH], "Entrypoint": [entrypoint], "User": user, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]}]).encode()
    with tarfile.open(out, "w") as archive:
        for member, content in ((config_name, config), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        archive.add(layer, arcname=f"{digest}/layer.tar", filter=neutral)


def main(arguments: list[str]) -> None:
    """Writes to a name of its own first, so that an interrupted run leaves nothing that looks finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("name")
    parser.add_argument("--tree", type=Path)
    parser.add_argument("--file", action="append", default=[], dest="files")
    parser.add_argument("--entrypoint", required=True)
    parser.add_argument("--user", default="0:0")
    options = parser.parse_args(arguments)
    layer, unfinished = options.out.with_suffix(".layer"), options.out.with_suffix(".new")
    try:
        write_layer(layer, options.tree, options.files)
        write_image(unfinished, options.name, layer, options.entrypoint, options.user)
        os.replace(unfinished, options.out)
    finally:
        layer.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1:])

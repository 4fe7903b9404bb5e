"""`python -m model.demo raw FOLDER` writes the demo's raw data, `python -m model.demo base URI` makes nano's base directory."""

import argparse
import sys
import time

from model.errors import SphinxError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.demo", description="What the demo starts from.")
    commands = parser.add_subparsers(dest="command", required=True)
    raw = commands.add_parser("raw", help="draw scenes into raw datasets of six families, with held-out benchmark files")
    raw.add_argument("folder", help="folder of the raw datasets; its own, nothing else may lie in it")
    base = commands.add_parser("base", help="pre-train nano's encoders and train its vocabulary")
    base.add_argument("uri", help="folder or URI of the base directory")
    for command in (raw, base):
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    try:
        print(_run(options))
    except SphinxError as error:
        print(f"sphinx-x error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace) -> str:
    started = time.monotonic()

    def show(done: int, total: int, text: str) -> None:
        end = "\n" if done == total else "\r"
        print(f"{text}: {done} of {total}, {time.monotonic() - started:.0f} s", end=end, file=sys.stderr, flush=True)

    if options.command == "raw":
        from model.demo.generate import write_raw

        digest = write_raw(options.folder, options.seed, processes=options.processes, progress=show)
        return f"{options.folder}: digest {digest[:12]}"
    from model.demo.prelude import make_nano_base

    base = make_nano_base(options.uri, options.seed, show, processes=options.processes)
    return f"{base.uri}: {base.name}, digest {base.digest[:12]}"


if __name__ == "__main__":
    sys.exit(main())

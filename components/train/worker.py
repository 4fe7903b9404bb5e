"""One rank of a training run, started by torchrun: where science meets platform.

Reads the run's spec, gives rank 0 an MLflow tracker, and calls `model.train.run.train`. A failure that a person can mend is
left as one sentence in the file that the launcher names.
"""

import argparse
import os
import sys

from components.shared.process import die_with_parent
from components.shared.tracking import tracker_for
from components.train.logic import ERROR_FILE_VARIABLE
from model import storage
from model.errors import SphinxError
from model.train.spec import TrainSpec


def main() -> None:
    """Train; where it fails, leave a sentence."""
    # torchrun gives every rank a session of its own, so that a signal to its group would miss it.
    die_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="URI of the run's spec.json")
    parser.add_argument("--run-id", required=True, help="identity of the pipeline run")
    arguments = parser.parse_args()
    try:
        spec = TrainSpec.from_json(storage.read_bytes(arguments.spec), arguments.spec)
        from model.train.run import train

        train(spec, tracker_for(spec, arguments.run_id))
    except SphinxError as error:
        _leave(str(error))
        print(error, file=sys.stderr, flush=True)
        sys.exit(getattr(error, "exit_code", 1))
    except Exception as error:
        _leave(f"training failed by a fault of the program ({type(error).__name__}: {' '.join(str(error).split())[:300]}).")
        raise


def _leave(sentence: str) -> None:
    """The first rank that fails speaks; the others mostly say that they lost it."""
    if path := os.environ.get(ERROR_FILE_VARIABLE):
        storage.write_new(path, sentence.encode())


if __name__ == "__main__":
    main()

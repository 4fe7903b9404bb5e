"""One rank of a training run, started by torchrun: where science meets platform.

Reads the run's spec, gives rank 0 an MLflow tracker, and calls `model.train.run.train`. It leaves a note of how it ended: an exit
code, and one sentence where a person can mend what went wrong.
"""

import argparse
import os
import sys
import time

from components.shared.machine_metrics import machine_metrics
from components.shared.platform import EXIT_FINAL
from components.shared.process import die_with_parent
from components.shared.tracking import tracker_for
from components.train.exporter import exported
from components.train.torchrun import leave_note
from model import storage
from model.errors import ConfigError, ContractError, DataError, FitError, SphinxError, TrainError
from model.train.spec import TrainSpec, run_digest

FINAL_ERRORS = (ConfigError, ContractError, DataError, FitError)
"""What would go wrong again however often it is tried."""


def main() -> None:
    """Train; where it fails, leave a sentence."""
    # torchrun gives every rank a session of its own, so that a signal to its group would miss it.
    die_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="URI of the run's spec.json")
    parser.add_argument("--run-id", required=True, help="identity of the pipeline run")
    arguments = parser.parse_args()
    rank = int(os.environ.get("RANK", "0"))
    leave_note(rank, None)
    try:
        _require_device()
        spec = TrainSpec.from_json(storage.read_bytes(arguments.spec), arguments.spec)
        from model.train.run import train

        with machine_metrics(run_digest(spec)):
            train(spec, exported(spec, tracker_for(spec, arguments.run_id)))
        leave_note(rank, 0)
    except SphinxError as error:
        code = exit_code_of(error)
        leave_note(rank, code, str(error), time.time())
        print(error, file=sys.stderr, flush=True)
        sys.exit(code)
    except SystemExit as left:
        leave_note(rank, left.code if isinstance(left.code, int) else 1)
        raise
    except Exception as error:
        sentence = f"training failed by a fault of the program ({type(error).__name__}: {' '.join(str(error).split())[:300]})."
        leave_note(rank, 1, sentence, time.time())
        raise


def exit_code_of(error: SphinxError) -> int:
    """64 where trying again would fail again, the error's own code where it has one, else 1."""
    return EXIT_FINAL if isinstance(error, FINAL_ERRORS) else getattr(error, "exit_code", 1)


def _require_device() -> None:
    """A node that was given GPUs must see them: training on its CPU instead would take for ever.

    Raises:
        TrainError: it sees none; a restart may come to another machine.
    """
    if os.environ.get("SPHINX_X_DEVICE") != "gpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise TrainError(
            "this node was given GPUs but torch sees none; check its driver and the device plugin, then run again."
        )


if __name__ == "__main__":
    main()

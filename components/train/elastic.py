"""torchrun without its last words: `python -m components.train.elastic` does what `python -m torch.distributed.run` does.

Where a rank fails, torchrun ends with a traceback through its own code and a table; whoever reads the log then misses the sentence
above it, which the rank has left. Here one line says which rank ended first, and how.
"""

import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun


def main() -> None:
    """Run torchrun with this process's arguments; exit code 1 where a rank failed."""
    try:
        torchrun(sys.argv[1:])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        how = f"signal {-failure.exitcode}" if failure.exitcode < 0 else f"exit code {failure.exitcode}"
        print(f"rank {rank} ended first, with {how}", file=sys.stderr, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

"""`python -m model.train spec.json`: train without a tracker, alone or under torchrun."""

import sys

from model.errors import SphinxError
from model.train.spec import TrainSpec

if __name__ == "__main__":
    from model.train.run import train

    try:
        train(TrainSpec.read(sys.argv[1]))
    except SphinxError as error:
        print(error, file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 2))

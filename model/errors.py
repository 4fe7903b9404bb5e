"""What went wrong, for a person: the root of every exception that a user can cause.

SphinxError                 one sentence: what, where, the remedy; the command line prints it and exits with 2
├── ContractError           a file does not follow its contract (`model/contracts`)
├── ConfigError             a field of a YAML file or an option has a wrong value
├── StorageError            a URI cannot be read or written (`model/storage.py`)
├── DataError               raw data that cannot be used at all (`model/data`)
├── FitError                a variant, batch or file does not fit this machine
├── TrainError              training stopped for a reason the user can act on (`model/train`)
└── RegistryError           MLflow does not answer, refuses, or does not hold what was asked for (`components/shared`)

Mistakes of our own stay `AssertionError` and the like, with their traceback.
"""


class SphinxError(Exception):
    """One sentence for a person: what was wrong, where, and what to do."""


class ContractError(SphinxError):
    pass


class ConfigError(SphinxError):
    pass


class StorageError(SphinxError):
    pass


class DataError(SphinxError):
    pass


class FitError(SphinxError):
    pass


class TrainError(SphinxError):
    pass


class RegistryError(SphinxError):
    pass

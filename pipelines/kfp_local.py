"""The process in which kfp.local executes the DAG: everything kfp prints goes to this process's output, which is a log file.

    python -m pipelines.kfp_local <run folder>      reads arguments.json there, leaves kfp's outputs below kfp/

Exit code 0 if every task succeeded, else 1; which one failed and why is in the tasks' events.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from components.shared.task import RUNNER_PID

ARGUMENTS_FILE, OUTPUTS_FOLDER = "arguments.json", "kfp"


def main(run_folder: Path) -> int:
    """Run the pipeline with the arguments that lie in the run's folder."""
    os.environ[RUNNER_PID] = str(os.getpid())
    # kfp warns once a task that display names and images mean nothing here.
    warnings.simplefilter("ignore")
    from kfp import local

    from pipelines.train import train_pipeline

    _find_named_outputs()
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(run_folder / OUTPUTS_FOLDER), raise_on_error=True)
    try:
        train_pipeline(**json.loads((run_folder / ARGUMENTS_FILE).read_text()))
    except RuntimeError as error:  # kfp's word for a failed task
        print(error)
        return 1
    return 0


def _find_named_outputs() -> None:
    """Mend kfp.local 2.17.0, which looks up a loop's items and a condition's operands by task name and the key `Output` only.

    The backend knows outputs by their names. Here a miss among the inputs is looked for among the tasks' outputs, under the
    name that the compiler gave it: <task>-<output>.
    """
    from kfp.local import io

    look_up = io.IOStore.get_parent_input

    def get_parent_input(self: io.IOStore, key: str) -> Any:
        try:
            return look_up(self, key)
        except ValueError:
            wanted = key.removeprefix("pipelinechannel--")
            for task, outputs in self._task_output_data.items():
                for name, value in outputs.items():
                    if wanted == f"{task}-{name}":
                        return value
            raise

    io.IOStore.get_parent_input = get_parent_input


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

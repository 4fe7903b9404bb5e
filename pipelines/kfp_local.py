"""The process in which kfp.local executes the DAG: everything kfp prints goes to this process's output, which is a log file.

    python -m pipelines.kfp_local <run folder> <pipeline>      reads arguments.json there, leaves kfp's outputs below kfp/

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


def main(run_folder: Path, name: str) -> int:
    """Run the pipeline of that name with the arguments that lie in the run's folder."""
    os.environ[RUNNER_PID] = str(os.getpid())
    # kfp warns once a task that display names and images mean nothing here.
    warnings.simplefilter("ignore")
    from kfp import local

    from pipelines import family, train

    pipelines: dict[str, Any] = {train.NAME: train.train_pipeline, family.NAME: family.family_pipeline}
    mend_kfp_local()
    one_after_the_other(pipelines[name].pipeline_spec, family.MEMBERS)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(run_folder / OUTPUTS_FOLDER), raise_on_error=True)
    try:
        pipelines[name](**json.loads((run_folder / ARGUMENTS_FILE).read_text()))
    except RuntimeError as error:  # kfp's word for a failed task
        print(error)
        return 1
    return 0


def one_after_the_other(pipeline_spec: Any, loop: str) -> None:
    """Run a loop's repetitions one after the other, which on a cluster run at once: one machine has memory for one training."""
    for component in pipeline_spec.components.values():
        for task in component.dag.tasks.values():
            if task.task_info.name == loop:
                task.iterator_policy.parallelism_limit = 1


def mend_kfp_local() -> None:
    """Make kfp.local 2.17.0 do what the backend does, in the two places where it does not.

    - It looks up a loop's items and a condition's operands by task name and the key `Output` only. Here a miss among the
      inputs is looked for among the tasks' outputs, under the name that the compiler gave it: <task>-<output>.
    - It hands the loop's item to every input of the loop's body that is another task's output. Here only the item's own
      input gets it.
    """
    from kfp.compiler import pipeline_spec_builder
    from kfp.local import io
    from kfp.local.orchestrator import task_spec_utils

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

    def iteration(original_task_spec: Any, loop_item: Any, loop_task_name: str) -> Any:
        spec = type(original_task_spec)()
        spec.CopyFrom(original_task_spec)
        item = spec.inputs.parameters[original_task_spec.parameter_iterator.item_input]
        item.runtime_value.constant.CopyFrom(pipeline_spec_builder.to_protobuf_value(loop_item))
        spec.ClearField("parameter_iterator")
        return spec

    io.IOStore.get_parent_input = get_parent_input
    task_spec_utils.create_parameter_loop_iteration_task_spec = iteration


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))

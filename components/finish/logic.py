"""Close the pipeline run's record."""

from components.shared.mlflow_client import explained, open_client
from components.shared.task import tell
from components.shared.tracking import parent_run

SUCCEEDED = ("SUCCEEDED", "COMPLETE")
"""Names of success: kfp.local's, and the backend's; the others are FAILED and RUNNING, which Terminate leaves behind."""


def run(run_id: str, state: str) -> str:
    """Give the pipeline run's parent in MLflow its final status, and return that.

    Raises:
        RegistryError: MLflow does not answer.
    """
    status = "FINISHED" if state in SUCCEEDED else "FAILED"
    client = open_client()
    with explained("close the pipeline run"):
        client.set_terminated(parent_run(client, run_id), status)
    print(f"pipeline run {run_id}: {status}")
    tell("finish", "", "running", note=status)
    return status

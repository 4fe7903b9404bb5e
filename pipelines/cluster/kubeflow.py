"""Kubeflow Pipelines' API in this project's words: pipelines, runs and schedules of one namespace.

Everything here is safe to repeat: uploading what is there changes nothing, and a name that somebody else took in the meantime is
looked up again. What the API does not tell (artifacts, a terminated run's state) is read from what it does.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.shared.platform import PREFIX
from pipelines.cluster.config import Value
from pipelines.cluster.connection import Connection, KubeflowError
from pipelines.cluster.render import RenderedPipeline

PAGE = 100
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


class Kubeflow:
    """Operations on one Kubeflow Pipelines; objects that come back are those of the generated client.

    Args:
        connection: The way to it.
        is_multi_user: Pipelines, experiments and schedules are asked for in the connection's namespace.

    Raises:
        KubeflowError: every method, in one sentence.
    """

    def __init__(self, connection: Connection, is_multi_user: bool = False, ui_url: str = "") -> None:
        import kfp_server_api as api

        self.connection, self.ui_url = connection, ui_url.rstrip("/")
        self._call = connection.call
        self._namespace = connection.namespace if is_multi_user else ""
        self._pipelines = api.PipelineServiceApi(connection.api)
        self._uploads = api.PipelineUploadServiceApi(connection.api)
        self._runs = api.RunServiceApi(connection.api)
        self._recurring = api.RecurringRunServiceApi(connection.api)
        self._experiments = api.ExperimentServiceApi(connection.api)

    # Pipelines

    def pipeline(self, name: str) -> Any:
        """A pipeline by its name in the API."""
        found = self._list(
            self._pipelines.pipeline_service_list_pipelines, "pipelines", filter=_equals("name", name), **self._scope()
        )
        return next((one for one in found if name in (one.name, one.display_name)), None)

    def versions(self, pipeline_id: str) -> Iterator[Any]:
        """A pipeline's versions, newest first."""
        return self._list(
            self._pipelines.pipeline_service_list_pipeline_versions, "pipeline_versions", pipeline_id, sort_by="created_at desc"
        )

    def publish(self, pipeline: RenderedPipeline) -> tuple[str, str, bool]:
        """Make a pipeline's newest version have this content.

        Returns:
            Ids of pipeline and version; whether anything was uploaded.
        """
        found = self.pipeline(pipeline.name)
        if found is None:
            try:
                found = self._create_pipeline(pipeline)
            except KubeflowError:
                if (found := self.pipeline(pipeline.name)) is None:
                    raise  # else somebody else made it in this moment
        versions = list(self.versions(found.pipeline_id))
        taken = [one for one in versions if _is_version(one.display_name, pipeline.version)]
        if versions and taken[:1] == versions[:1]:
            return found.pipeline_id, versions[0].pipeline_version_id, False
        # Content that was there before, and then another's (a rollback): schedules follow the newest, so it comes once more.
        name = f"{pipeline.version}.{len(taken) + 1}" if taken else pipeline.version
        try:
            made = self._upload(pipeline, name, found.pipeline_id)
        except KubeflowError as error:
            newest = next(self.versions(found.pipeline_id), None)
            if newest is None or not _is_version(newest.display_name, pipeline.version):
                raise error
            return found.pipeline_id, newest.pipeline_version_id, False
        return found.pipeline_id, made.pipeline_version_id, True

    def _create_pipeline(self, pipeline: RenderedPipeline) -> Any:
        from kfp_server_api import V2beta1Pipeline

        wanted = V2beta1Pipeline(
            name=pipeline.name, display_name=pipeline.display_name, description=pipeline.description, **self._scope()
        )
        return self._call(self._pipelines.pipeline_service_create_pipeline, wanted)

    def _upload(self, pipeline: RenderedPipeline, name: str, pipeline_id: str) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{pipeline.name}.yaml")
            path.write_text(pipeline.text, encoding="utf-8")
            upload = self._uploads.upload_pipeline_version
            about = {"display_name": name, "description": pipeline.description, "pipelineid": pipeline_id}
            return self._call(upload, str(path), name=name, **about)

    # Runs

    def experiment(self, name: str = PREFIX) -> str:
        """Id of an experiment; made if it is not there."""
        from kfp_server_api import V2beta1Experiment

        if found := self._find_experiment(name):
            return found
        wanted = V2beta1Experiment(display_name=name, **self._scope())
        try:
            return self._call(self._experiments.experiment_service_create_experiment, wanted).experiment_id
        except KubeflowError:
            if found := self._find_experiment(name):  # somebody else made it in this moment
                return found
            raise

    def _find_experiment(self, name: str) -> str:
        listed = self._experiments.experiment_service_list_experiments
        found = self._list(listed, "experiments", filter=_equals("name", name), **self._scope())
        return next((one.experiment_id for one in found if one.display_name == name), "")

    def start(
        self, name: str, pipeline: tuple[str, str], parameters: dict[str, Value], experiment: str = PREFIX, account: str = ""
    ) -> Any:
        """Start a run.

        Args:
            pipeline: Ids of pipeline and version.
            account: Service account of its pods; empty for Kubeflow's choice.
        """
        import kfp_server_api as api

        run = api.V2beta1Run(
            display_name=name,
            experiment_id=self.experiment(experiment),
            pipeline_version_reference=api.V2beta1PipelineVersionReference(
                pipeline_id=pipeline[0], pipeline_version_id=pipeline[1]
            ),
            runtime_config=api.V2beta1RuntimeConfig(parameters=parameters),
            service_account=account or None,
        )
        return self._call(self._runs.run_service_create_run, run)

    def run(self, run_id: str) -> Any:
        """A run with its tasks, by its whole id."""
        return self._call(self._runs.run_service_get_run, run_id)

    def runs(self, limit: int = 0, recurring_run: str = "", is_active: bool = False) -> Iterator[Any]:
        """Runs, newest first.

        Args:
            limit: Stop after so many; 0 for none.
            recurring_run: Only those that this schedule started.
            is_active: Only those that have not ended.
        """
        only = {"filter": _equals("recurring_run_id", recurring_run)} if recurring_run else {}
        found = self._list(self._runs.run_service_list_runs, "runs", sort_by="created_at desc", **only, **self._scope())
        for number, run in enumerate(found):
            if limit and number >= limit:
                return
            if not (is_active and run.state in ENDED):
                yield run

    def terminate(self, run_id: str) -> None:
        """Stop a run: its tasks end within seconds; what they started elsewhere does not."""
        self._call(self._runs.run_service_terminate_run, run_id)

    def retry(self, run_id: str) -> None:
        """Run the failed tasks of an ended run again, in the same run."""
        self._call(self._runs.run_service_retry_run, run_id)

    def link(self, run_id: str) -> str:
        """The run's page, or how to name it where no address of the pages is known."""
        return f"{self.ui_url}/#/runs/details/{run_id}" if self.ui_url else ""

    # Schedules

    def recurring_runs(self) -> Iterator[Any]:
        """All recurring runs, oldest first."""
        return self._list(
            self._recurring.recurring_run_service_list_recurring_runs,
            "recurring_runs",
            sort_by="created_at asc",
            **self._scope(),
        )

    def create_recurring_run(self, wanted: Any) -> Any:
        """Make a recurring run."""
        return self._call(self._recurring.recurring_run_service_create_recurring_run, wanted)

    def set_enabled(self, recurring_run: str, enabled: bool) -> None:
        """Let a recurring run fire, or pause it."""
        enable = self._recurring.recurring_run_service_enable_recurring_run
        disable = self._recurring.recurring_run_service_disable_recurring_run
        self._call(enable if enabled else disable, recurring_run)

    def delete_recurring_run(self, recurring_run: str) -> None:
        """Remove a recurring run, with the pods of its runs; nothing happens if it is not there."""
        try:
            self._call(self._recurring.recurring_run_service_delete_recurring_run, recurring_run)
        except KubeflowError as error:
            if error.status != 404:
                raise

    def _scope(self) -> dict[str, str]:
        return {"namespace": self._namespace} if self._namespace else {}

    def _list(self, method: Any, field: str, *args: str, **named: Any) -> Iterator[Any]:
        """All pages of a list."""
        token = ""
        while True:
            page = self._call(method, *args, page_size=PAGE, page_token=token, **named)
            yield from getattr(page, field) or ()
            if not (token := page.next_page_token):
                return


def open_kubeflow(connection: Connection, ui_url: str = "", wait_seconds: float = 0) -> Kubeflow:
    """A Kubeflow that answers and is new enough.

    Raises:
        KubeflowError: it is not, in one sentence.
    """
    server = connection.wait_until_ready(wait_seconds)
    if server.is_too_old:
        raise KubeflowError(
            f"Kubeflow Pipelines {server.version} at {connection.endpoint} is too old: it cannot read the pipelines' closed "
            "choices; update it to 2.16 or later."
        )
    return Kubeflow(connection, server.is_multi_user, ui_url)


def _equals(key: str, value: str) -> str:
    """The API's filter language for one field."""
    return json.dumps({"predicates": [{"key": key, "operation": "EQUALS", "string_value": value}]})


def _is_version(name: str | None, version: str) -> bool:
    """Whether a version's name is this one, or a repetition of it."""
    return bool(name) and (name == version or (name or "").startswith(version + "."))

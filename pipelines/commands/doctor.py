"""`sphinx-x doctor`: what a cluster lacks for this system, one line each with the remedy."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.cluster_options import Endpoint, Namespace


def doctor(
    in_cluster: Annotated[
        bool,
        typer.Option("--in-cluster", help="This is a pod with the pipelines' rights and environment, as `helm test` runs it."),
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", help="The deployment as the chart writes it; checks its Secrets too.")
    ] = None,
    endpoint: Endpoint = "",
    namespace: Namespace = "",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead.")] = False,
) -> None:
    """Ask every dependency and say what is missing: Kubernetes, Trainer, JobSet, Kubeflow, rights, Secrets, store, MLflow, GPUs.

    Exit code 1 if something is missing that runs need.

    Examples:

        sphinx-x doctor

        sphinx-x doctor --namespace my-profile --json
    """
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.text import Text

    from pipelines.cluster.config import SyncConfig
    from pipelines.cluster.doctor import Patient, examine

    patient = Patient.of(SyncConfig.from_file(config) if config else None, namespace, endpoint, in_cluster)
    console = Console()
    marks = {"ok": ("✓", "green"), "missing": ("✗", "bold red"), "advice": ("!", "yellow"), "unknown": ("?", "dim")}
    findings = []
    for finding in examine(patient):
        findings.append(finding)
        if not as_json:
            line = Text.assemble(marks[finding.verdict], f" {finding.what:19}", finding.says)
            console.print(line, soft_wrap=True, highlight=False)
    if as_json:
        json.dump([asdict(finding) for finding in findings], sys.stdout, indent=2)
        typer.echo()
    missing = sum(finding.verdict == "missing" for finding in findings)
    if not as_json:
        console.print(f"{missing} missing" if missing else "nothing is missing", style="bold", highlight=False)
    if missing:
        raise typer.Exit(1)

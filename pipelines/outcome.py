"""What a person is told and shown at the end of a run."""

from pathlib import Path

from rich.console import Console

from pipelines.runs import REPORT_FILE, RunRecord, folder_of, task_outputs

ASKED_FILE = "asked.jpg"


def show(record: RunRecord, workspace: Path, console: Console) -> None:
    """Scores, the gate's word, and where report and model are."""
    minutes = ((record.ended or record.started) - record.started) / 60
    scores = ", ".join(f"{name} {score:.1%}" for name, score in record.scores.items())
    console.print()
    if record.members:
        _show_family(record, workspace, minutes, console)
        return
    if not record.version:  # it ended early
        console.print(f"[bold]{record.recipe}[/bold] as {record.variant}: {record.reason}", highlight=False)
        return
    console.print(f"[bold]{record.recipe}[/bold] as {record.variant}: done in {minutes:.1f} minutes. {record.gate_reason}")
    for name, value in (
        ("scores", scores),
        ("report", folder_of(workspace.resolve(), record.id) / REPORT_FILE),
        ("model", f"models:/{record.registered_name}/{record.version}"),
        ("files", record.model_uri),
    ):
        console.print(f"  {name:7} {value}", soft_wrap=True, highlight=False)


def _show_family(record: RunRecord, workspace: Path, minutes: float, console: Console) -> None:
    """Each member's scores and address, and where the comparison is."""
    console.print(f"[bold]{record.recipe}[/bold]: {len(record.members)} models in {minutes:.1f} minutes.", highlight=False)
    for one, address in zip(record.members, record.addresses, strict=True):
        scores = ", ".join(f"{name} {score:.1%}" for name, score in one.scores.items())
        console.print(f"  [bold]{one.name}[/bold]: {scores}; gate {one.gate}; {address}", soft_wrap=True, highlight=False)
    folder = folder_of(workspace.resolve(), record.id)
    console.print(f"  comparison {folder / REPORT_FILE}", soft_wrap=True, highlight=False)


def ask(record: RunRecord, workspace: Path, console: Console) -> None:
    """Ask the registered model about a held-out picture, as its users do."""
    from model.evaluate.report import read_shown
    from pipelines.commands.chat import Talker, loaded, read_picture

    folder = folder_of(workspace.resolve(), record.id)
    uris = {str(place): outputs["Output"] for place, (task, outputs) in enumerate(task_outputs(folder)) if task == "evaluate"}
    # A question that a person understands at once, and whose answer is no list of boxes.
    shown = [one for one in read_shown(uris) if not one.prediction.expected_boxes and len(one.prediction.question) < 80]
    if not shown:
        return
    file, asked = folder / ASKED_FILE, shown[0].prediction
    file.write_bytes(shown[0].jpeg)
    address = f"models:/{record.registered_name}/{record.version}"
    with loaded(address, False, console) as (model, processor):
        answer = "".join(Talker(model, processor, [read_picture(str(file))], max_new_tokens=32).ask(asked.question)).strip()
    lines = (
        ("picture", f"{file} (never seen in training)"),
        ("question", " ".join(asked.question.split())),
        ("answer", answer),
        ("expected", asked.expected[0] if asked.expected else ""),
        ("again", f"sphinx-x chat {address} --image {file} --question {_quoted(asked.question)}"),
    )
    console.print(f"\n[bold]{address}[/bold] is asked:")
    for name, value in lines:
        console.print(f"  {name:9}{value}", markup=False, highlight=False, soft_wrap=True)


def _quoted(text: str) -> str:
    """A text as a shell takes it; the prompt's line break is kept, since the model knows it so."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"$'{escaped}'" if escaped != text else f"'{text}'"

"""What a run does, drawn by the command line: a line a task, a bar while it trains. The tasks' events and the training log feed it."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from model import storage

MARKS = {"waiting": ("·", "dim"), "done": ("✓", "green"), "failed": ("✗", "bold red"), "skipped": ("–", "dim")}
TRAINING_LINE_SECONDS = 15.0
"""Time between two lines about training where no bar can be drawn."""


@dataclass
class TaskLine:
    """One task of the DAG, or one of its repetitions."""

    task: str
    item: str
    state: str = "waiting"
    started: float = 0.0
    seconds: float = 0.0
    note: str = ""
    message: str = ""


class LineReader:
    """Whole lines that a growing file has gained since the last look."""

    def __init__(self, path: Path):
        self._path, self._offset = path, 0

    def new_lines(self) -> list[dict[str, Any]]:
        """Parsed JSON of the new lines; one that is not finished yet waits for the next look."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        rows = []
        for line in whole.splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue  # cut off by a kill; the writer went on in the next line
        return [row for row in rows if isinstance(row, dict)]


@dataclass
class Board:
    """State of all tasks of a run, and how it looks."""

    console: Console
    lines: list[TaskLine]
    """In the order of the DAG."""
    events: LineReader
    training_logs: dict[str, LineReader] = field(default_factory=dict)
    """Of each training, by the model's name in a family; of a single model, by the empty name."""
    training: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The newest row of each."""
    _spinner: Spinner = field(default_factory=lambda: Spinner("dots", style="cyan"))
    _last_training_line: float = 0.0

    @property
    def running_trainings(self) -> list[str]:
        """Names of those that have something to tell."""
        return [name for name in self.training if self._line("train", name).state == "running"]

    def update(self) -> None:
        """Take in what happened since the last call."""
        for event in self.events.new_lines():
            self._take(event)
        for name, log in self.training_logs.items():
            for row in log.new_lines():
                if {"step", "steps", "loss"} <= set(row):
                    self.training[name] = row
        if not self.console.is_terminal and self.running_trainings:
            self._say_training()

    def end(self) -> None:
        """The DAG's process has ended: whatever still seems to run was killed, whatever waits was left out."""
        self.update()
        for line in self.lines:
            if line.state == "running":
                line.state, line.message = (
                    "failed",
                    line.message or "was killed; free memory where that was the cause, and run again.",
                )
                line.seconds = time.time() - line.started
            elif line.state == "waiting":
                line.state = "skipped"

    def failure(self) -> str | None:
        """The sentence of the first task that failed."""
        failed = [line for line in self.lines if line.state == "failed"]
        failed.sort(key=lambda line: line.started + line.seconds)
        if not failed:
            return None
        name = f"{failed[0].task} {failed[0].item}".strip()
        return f"{name}: {failed[0].message}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1)
        table.add_column(no_wrap=True, min_width=8, style="bold")
        table.add_column(no_wrap=True, min_width=max((len(line.item) for line in self.lines), default=0))
        table.add_column(no_wrap=True, min_width=6, justify="right", style="dim")
        table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
        for line in self.lines:
            mark = self._spinner if line.state == "running" else Text(*MARKS[line.state])
            seconds = time.time() - line.started if line.state == "running" else line.seconds
            shown = "" if line.state in ("waiting", "skipped") else f"{seconds:.0f} s"
            table.add_row(mark, line.task, line.item, shown, Text(line.message if line.state == "failed" else line.note))
        yield Group(table, *map(self._bar, self.running_trainings))

    def _take(self, event: dict[str, Any]) -> None:
        line = self._line(event["task"], event.get("item", ""))
        before = line.state
        line.state = event["state"]
        line.note = event.get("note") or line.note
        line.message = event.get("message") or line.message
        if before == "waiting":
            line.started = event["time"]
        line.seconds = event["time"] - line.started
        if (log := event.get("log")) and (path := storage.local_path(log)):
            self.training_logs[line.item] = LineReader(path)
        if not self.console.is_terminal and line.state in ("done", "failed"):
            said = line.message if line.state == "failed" else line.note
            self._say(f"{line.state:7} {line.task} {line.item} ({line.seconds:.1f} s) {said}".strip())

    def _line(self, task: str, item: str) -> TaskLine:
        for line in self.lines:
            if (line.task, line.item) == (task, item):
                return line
        self.lines.append(TaskLine(task, item))
        return self.lines[-1]

    def _bar(self, name: str) -> Table:
        row = self.training[name]
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            Text("  "), ProgressBar(total=row["steps"], completed=row["step"], width=40), Text(self._training_words(name))
        )
        return grid

    def _say_training(self) -> None:
        if time.time() - self._last_training_line > TRAINING_LINE_SECONDS:
            self._last_training_line = time.time()
            for name in self.running_trainings:
                self._say(f"        train {self._training_words(name)}")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _training_words(self, name: str) -> str:
        row = self.training[name]
        words = [name] if name else []
        words += [f"step {row['step']}/{row['steps']}", f"loss {row['loss']:.3f}"]
        if speed := row.get("samples_per_second"):
            words.append(f"{speed:.1f} samples/s")
        if (left := row.get("seconds_left")) is not None:
            words.append(f"{int(left) // 60}:{int(left) % 60:02d} left")
        return " · ".join(words)


def expected_lines(datasets: Iterable[str], benchmarks: Iterable[str]) -> list[TaskLine]:
    """All tasks of the DAG in order, waiting."""
    lines = [TaskLine("validate", "")]
    lines += [TaskLine("unify", name) for name in datasets] + [TaskLine(task, "") for task in ("merge", "prepare", "train")]
    lines += [TaskLine("evaluate", name) for name in benchmarks]
    return lines + [TaskLine(task, "") for task in ("report", "register", "promote", "finish")]


def family_lines(datasets: Iterable[str], members: Iterable[str]) -> list[TaskLine]:
    """All tasks of a family's DAG in order, waiting."""
    lines = [TaskLine("validate", ""), *(TaskLine("unify", name) for name in datasets), TaskLine("merge", "")]
    of_member = ("member", "train", "evaluate", "report", "register", "promote")
    lines += [TaskLine(task, name) for name in members for task in of_member]
    return [*lines, TaskLine("compare", ""), TaskLine("finish", "")]

"""The display: what the tasks tell becomes lines, a bar and the sentence of the first failure."""

import io
import json

import pytest
from rich.console import Console

from pipelines.progress import Board, LineReader, expected_lines


@pytest.fixture
def board(tmp_path):
    """A board that draws for a terminal, and a function that tells it something."""
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    made = Board(console, expected_lines(["cells", "pages"], ["vqa"]), LineReader(tmp_path / "events"))
    made.tell = lambda *events: _append(tmp_path / "events", *events)  # pyright: ignore[reportAttributeAccessIssue]
    return made


def _append(path, *rows):
    with open(path, "a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _event(task, item, state, time, **more):
    return {"task": task, "item": item, "state": state, "time": time, **more}


def _drawn(board: Board) -> list[str]:
    with board.console.capture() as capture:
        board.console.print(board)
    return capture.get().splitlines()


def test_all_tasks_stand_there_in_the_order_of_the_dag_before_anything_runs(board):
    shown = [" ".join(line.split()) for line in _drawn(board)]
    assert shown == [
        "· validate", "· unify cells", "· unify pages", "· merge", "· prepare", "· train", "· evaluate vqa",
        "· report", "· register", "· promote", "· finish",
    ]  # fmt: skip


def test_a_task_has_its_seconds_and_what_came_of_it(board):
    board.tell(_event("unify", "pages", "running", 100.0), _event("unify", "pages", "running", 101.0, note="9 samples"))
    board.tell(_event("unify", "pages", "done", 112.0))
    board.update()
    (line,) = (line for line in _drawn(board) if "pages" in line)
    assert line.split() == ["✓", "unify", "pages", "12", "s", "9", "samples"]


def test_the_first_failure_is_the_runs_sentence(board):
    board.tell(_event("unify", "pages", "running", 100.0), _event("unify", "cells", "running", 100.0))
    board.tell(
        _event("unify", "pages", "failed", 130.0, message="later."), _event("unify", "cells", "failed", 120.0, message="first.")
    )
    board.end()
    assert board.failure() == "unify cells: first."
    assert {line.state for line in board.lines if line.task in ("merge", "train", "promote")} == {"skipped"}


def test_a_task_that_was_killed_says_so_although_it_could_not(board):
    board.tell(_event("train", "", "running", 100.0))
    board.end()
    assert board.failure() == "train: was killed; free memory where that was the cause, and run again."


def test_training_is_a_bar_with_loss_speed_and_time_left(board, tmp_path):
    board.tell(_event("train", "", "running", 100.0, log=str(tmp_path / "log.jsonl")))
    board.update()
    row = {"step": 25, "steps": 100, "loss": 2.34567, "samples_per_second": 12.3, "seconds_left": 190.0}
    _append(tmp_path / "log.jsonl", row)
    board.update()
    assert "step 25/100 · loss 2.346 · 12.3 samples/s · 3:10 left" in _drawn(board)[-1]
    board.tell(_event("train", "", "done", 400.0))
    board.update()
    assert not any("left" in line for line in _drawn(board))


def test_half_a_line_waits_for_its_end(tmp_path):
    reader = LineReader(tmp_path / "log")
    assert reader.new_lines() == []
    (tmp_path / "log").write_text('{"a": 1}\n{"a"')
    assert reader.new_lines() == [{"a": 1}]
    with open(tmp_path / "log", "a") as file:
        file.write(': 2}\nnot json\n{"a": 3}\n')
    assert reader.new_lines() == [{"a": 2}, {"a": 3}]


def test_words_in_brackets_are_shown_and_not_read_as_markup(board):
    board.tell(_event("validate", "", "failed", 1.0, message="run: pip install 'sphinx-x[s3]'"))
    board.update()
    assert "sphinx-x[s3]" in _drawn(board)[0]


def test_where_no_bar_can_be_drawn_a_line_a_task_is_printed(tmp_path):
    console = Console(file=io.StringIO(), width=40)
    board = Board(console, expected_lines(["cells"], []), LineReader(tmp_path / "events"))
    _append(
        tmp_path / "events", _event("unify", "cells", "running", 1.0), _event("unify", "cells", "done", 3.5, note="x [y] " * 10)
    )
    board.update()
    assert console.file.getvalue() == f"done    unify cells (2.5 s) {'x [y] ' * 10}".rstrip() + "\n"  # pyright: ignore[reportAttributeAccessIssue]

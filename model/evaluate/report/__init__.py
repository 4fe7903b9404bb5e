"""The report of a run: `render_report(ReportInput)` gives one self-contained HTML page."""

from model.evaluate.report.inputs import ReportInput, ShownPrediction, choose_shown, read_shown
from model.evaluate.report.page import render_report

__all__ = ["ReportInput", "ShownPrediction", "choose_shown", "read_shown", "render_report"]

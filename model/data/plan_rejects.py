"""The plan's own reject list: samples of the corpus that a run lists and cannot train on, a line each, beside the run."""

from model import storage
from model.contracts.base import canonical_json
from model.contracts.corpus import Reject
from model.data.plan import PackPlan
from model.data.shards import read_index

PLAN_REJECTS_FILE = "plan_rejects.jsonl"


def write_plan_rejects(plan: PackPlan, corpus_uri: str, run_uri: str) -> None:
    """Write `<run>/plan_rejects.jsonl`, as the corpus writes its `rejects.jsonl`; without rejects it is empty.

    Raises:
        StorageError: the corpus cannot be read, or the run's folder not be written.
    """
    rows, reasons = [], []
    for row, reason in plan.rejected():
        rows.append(row)
        reasons.append(reason)
    ids = read_index(corpus_uri).column("sample_id").take(rows).to_pylist() if rows else []
    lines = [Reject(id=name, reason=reason, kind="rule") for name, reason in zip(ids, reasons, strict=True)]
    text = "".join(canonical_json(line.model_dump(mode="json")) + "\n" for line in lines)
    storage.write_text(storage.join(run_uri, PLAN_REJECTS_FILE), text)

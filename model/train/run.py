"""Training, told from beginning to end: plan, build, go on from the last checkpoint, step, log, save, export.

`train` is called on every rank, under torchrun or alone. Kill it anywhere: what was committed is there, the rest is done again,
and on the same number of ranks the result is the same to the bit.
"""

from contextlib import ExitStack
from typing import Any, Literal

from model import storage
from model.build import build_model
from model.contracts.checkpoint import ModelManifest
from model.contracts.corpus import CorpusManifest
from model.data.deal import packs_per_rank
from model.data.lengths import corpus_lengths
from model.data.plan import PackPlan, make_plan
from model.data.plan_rejects import write_plan_rejects
from model.export import export_model
from model.sphinx_x.configuration_sphinx_x import SphinxXConfig
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from model.train.checkpoint import CheckpointSaver, remove_torn
from model.train.engine import DTYPES, Engine, trained_parameters_digest
from model.train.lease import RunLease
from model.train.log import RunLog
from model.train.loop import Progress, Recorder, Tracker, run_steps
from model.train.metrics import Window
from model.train.ranks import Ranks, join_ranks
from model.train.restore import newest_checkpoint
from model.train.settings import require_supported
from model.train.spec import (
    LEASE_FILE,
    SPEC_FILE,
    TrainSpec,
    finished_model,
    model_uri,
    read_corpus_manifest,
    run_digest,
    run_uri,
)
from model.train.stop import StopSignal
from model.train.story import Story
from model.train.trainer_status import TrainerStatus
from model.train.watch import StepProfiler
from model.variants import variant_named

__all__ = ["Progress", "Tracker", "train"]


def train(spec: TrainSpec, tracker: Tracker | None = None) -> ModelManifest:
    """Train a model from its base, or from where an earlier start of the same run stopped, and export it.

    Args:
        tracker: Given on rank 0; it is closed here.

    Raises:
        SphinxError: on the rank that failed, why, in one sentence; `TrainStopped` after SIGTERM, with the state saved.
        SystemExit: on the ranks that ended because another one failed.
    """
    status: Literal["FINISHED", "FAILED"] = "FAILED"
    try:
        ranks = join_ranks()
        with ranks.explained():
            manifest = ranks.agree(lambda: finished_model(spec)) or _train(spec, ranks, tracker)
        status = "FINISHED"
        return manifest
    finally:
        if tracker is not None:
            tracker.close(status)


def _train(spec: TrainSpec, ranks: Ranks, tracker: Tracker | None) -> ModelManifest:
    config = spec.config
    ranks.alike(lambda: require_supported(config, ranks.world_size))
    run = ranks.alike(lambda: run_uri(spec))
    with StopSignal(run) as stop, ExitStack() as held:
        story = Story(ranks)
        recorder = Recorder(story=story, tracker=tracker)
        attempt = ranks.agree(lambda: _take_run(spec, run, recorder, held))
        corpus, plan = _plan(spec, ranks)
        model = _build(spec, corpus, ranks)
        story.begins(spec, plan, model)
        identity = {
            "run_digest": run_digest(spec),
            "plan_digest": plan.digest,
            "parameters_digest": trained_parameters_digest(model),
        }
        progress, window = Progress(), Window(plan, config, variant_named(config.variant), ranks)
        with newest_checkpoint(run, ranks, config.engine, identity) as found:
            is_universal = found is not None and found.is_universal
            engine = Engine(model, config, ranks, packs_per_rank(plan.packs_per_step, ranks.world_size), is_universal)
            if found is not None:
                state = engine.load(found.folder, found.tag)
                progress = Progress(**state["progress"])
                window.restore(state["window"])
                story.goes_on(progress.step, found.manifest.world_size)
        saver = CheckpointSaver(run, engine, ranks, attempt, config.checkpoint.keep, identity, story.saved)
        if ranks.is_first:
            recorder.log, recorder.profiler = RunLog(run, progress.step), StepProfiler(config.watch, run)
        run_steps(spec, ranks, plan, engine, saver, progress, window, recorder, stop)
        manifest = _export(spec, corpus, plan, engine, progress, ranks)
        story.exported(model_uri(spec))
        return manifest


def _take_run(spec: TrainSpec, run: str, recorder: Recorder, held: ExitStack) -> str:
    """Hold the run's folder, tidy it, and give this start of it a name; on rank 0."""
    recorder.lease = held.enter_context(RunLease(storage.join(run, LEASE_FILE), run))
    recorder.status = held.enter_context(TrainerStatus())
    remove_torn(run)
    storage.write_text(storage.join(run, SPEC_FILE), spec.to_json())
    return recorder.lease.mine.token[:12]


def _plan(spec: TrainSpec, ranks: Ranks) -> tuple[CorpusManifest, PackPlan]:
    """The plan, made on every rank from lengths that rank 0 counts where the store has none."""
    ranks.agree(lambda: corpus_lengths(spec.corpus_uri, spec.base_uri, spec.store_uri) and None)
    lengths = corpus_lengths(spec.corpus_uri, spec.base_uri, spec.store_uri)
    corpus = read_corpus_manifest(spec.corpus_uri)
    plan = ranks.alike(lambda: make_plan(corpus, lengths, variant_named(spec.config.variant), spec.config))
    ranks.alike(lambda: packs_per_rank(plan.packs_per_step, ranks.world_size))
    ranks.agree(lambda: write_plan_rejects(plan, spec.corpus_uri, run_uri(spec)))
    return corpus, plan


def _build(spec: TrainSpec, corpus: CorpusManifest, ranks: Ranks) -> SphinxXForConditionalGeneration:
    config = spec.config
    with ranks.node_folder(spec.base_uri) as base:
        return build_model(
            variant_named(config.variant), base, DTYPES[config.engine.precision], config.seed, corpus.padding,
            config.balance_loss_weight,
        )  # fmt: skip


def _export(
    spec: TrainSpec, corpus: CorpusManifest, plan: PackPlan, engine: Engine, progress: Progress, ranks: Ranks
) -> ModelManifest:
    """Write the Hugging Face directory; weights come from every rank, rank 0 writes them."""
    described: dict[str, Any] = {
        "variant": spec.config.variant,
        "run_digest": run_digest(spec),
        "corpus_digest": corpus.digest,
        "plan_digest": plan.digest,
        "train_config": spec.config.model_dump(mode="json"),
        "steps": progress.step,
        "samples_seen": progress.samples_seen,
        "tokens_seen": progress.tokens_seen,
        "train_seconds": progress.train_seconds,
        "licences": {one.name: one.manifest.licence for one in corpus.datasets},
    }
    weights = engine.weights()
    if not ranks.is_first:
        for _ in weights:
            pass  # takes part in gathering what is sharded
    shapes, folder = engine.weight_shapes(), model_uri(spec)
    assert isinstance(engine.model.config, SphinxXConfig)
    config = engine.model.config
    return ranks.agree(lambda: export_model(config, shapes, weights, spec.base_uri, folder, described))

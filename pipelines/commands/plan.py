"""`sphinx-x plan`: steps, tokens, pack fill, memory per GPU and hours of a run on any cluster, before anything is booked."""

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from model.errors import ConfigError, FitError, SphinxError
from pipelines.commands.options import DEFAULT_WORKSPACE, Base, Settings, VariantName, Workspace, overrides_of

if TYPE_CHECKING:
    from model.contracts.recipe import Recipe
    from model.train.config import TrainConfig
    from model.train.estimate import Estimate
    from model.train.machine import Machine
    from model.train.workload import Mixture, Workload
    from model.variants import Variant

PAPER_SAMPLES = 15_300_000
"""The paper's own data, its table 9."""

Recipe_ = Annotated[str, typer.Argument(metavar="[RECIPE]", help="Recipe; without one, samples as the paper's data has them.")]
Nodes = Annotated[int, typer.Option("--nodes", min=1, help="Machines.")]
Gpus = Annotated[int | None, typer.Option("--gpus-per-node", min=0, help="GPUs of a machine; 0 plans for this machine without GPU. "
                 "8, for nano 0.")]  # fmt: skip
Memory = Annotated[float, typer.Option("--gpu-memory-gb", min=1, help="Memory of one GPU (H200 141, H100 80, A100 80).")]
HostMemory = Annotated[
    float | None, typer.Option("--host-memory-gb", min=1, help="Memory of a machine, for an offloaded optimizer.")
]
ProcessCount = Annotated[int, typer.Option("--processes", min=1, help="Training processes where there is no GPU.")]
Samples = Annotated[int | None, typer.Option("--samples", min=1, help="Samples of one epoch, instead of those counted.")]
PictureShare = Annotated[float, typer.Option("--picture-share", min=0, max=1, help="Assumed share of samples with a picture.")]
TextTokens = Annotated[float, typer.Option("--text-tokens", min=48, help="Assumed mean text tokens of a sample.")]
Supervised = Annotated[float, typer.Option("--supervised-share", min=0.01, max=1, help="Assumed share of them in answers.")]
Aspect = Annotated[float, typer.Option("--aspect", min=1, help="Assumed mean of longer edge / shorter edge of pictures.")]
Mfu = Annotated[float, typer.Option("--mfu", min=0.01, max=1, help="Assumed share of the peak that training reaches.")]
Peak = Annotated[float | None, typer.Option("--peak-tflops", min=0.001, help="Peak of one GPU in bf16: 989 for H100 and H200.")]
Store = Annotated[str, typer.Option("--store", help="Where unified corpora lie; the workspace's store.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


def plan(
    recipe: Recipe_ = "",
    variant: VariantName = "tiny",
    settings: Settings = None,
    base: Base = "",
    nodes: Nodes = 1,
    gpus_per_node: Gpus = None,
    gpu_memory_gb: Memory = 141.0,
    host_memory_gb: HostMemory = None,
    processes: ProcessCount = 2,
    samples: Samples = None,
    picture_share: PictureShare = 0.84,
    text_tokens: TextTokens = 160.0,
    supervised_share: Supervised = 0.4,
    aspect: Aspect = 1.5,
    mfu: Mfu = 0.4,
    peak_tflops: Peak = None,
    store: Store = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: Json = False,
) -> None:
    """Foretell a run: steps, tokens, pack fill, memory per GPU, hours, and whether it fits. Takes seconds on a laptop.

    Exact where the recipe's corpus has been unified and a base is at hand, else from a look at the raw annotation files, else
    from the assumptions given here. Ends with exit code 2 and the remedy where the run does not fit.

    Examples:

        sphinx-x plan --variant plus --nodes 4

        sphinx-x plan my-data.yaml --variant tiny --gpus-per-node 8 --gpu-memory-gb 80 --base /models/tiny

        sphinx-x plan my-data.yaml --variant nano --json
    """
    from model.train.config import load_train_config
    from model.train.estimate import estimate
    from model.train.machine import BF16_PEAK_TFLOPS, CPU_PEAK_TFLOPS, Machine
    from model.train.machine import host_memory_gb as this_memory_gb
    from model.train.workload import Mixture
    from model.variants import variant_named

    size = variant_named(variant)
    gpus = gpus_per_node if gpus_per_node is not None else (0 if variant == "nano" else 8)
    if gpus:
        machine = Machine(nodes, gpus, gpu_memory_gb, "gpu", host_memory_gb)
    else:
        machine = Machine(1, processes, this_memory_gb(), "cpu")
    peak = peak_tflops or (BF16_PEAK_TFLOPS if gpus else CPU_PEAK_TFLOPS)
    config, notes = _divisible(load_train_config(variant, overrides_of(settings)), machine.ranks)
    mixture = Mixture(picture_share, text_tokens, supervised_share, aspect)
    workload, more = _workload(recipe, size, config, base, store or str(workspace.resolve() / "store"), samples, mixture)
    told = estimate(size, config, machine, workload, mfu, peak)
    notes += [*more, _assumption(told, machine)]
    if as_json:
        typer.echo(json.dumps(_fields(variant, machine, workload, told, notes), indent=2))
    else:
        _show(size, config, machine, workload, told, notes)
    if told.fits is not None:
        raise FitError(told.fits)


def _divisible(config: "TrainConfig", ranks: int) -> tuple["TrainConfig", list[str]]:
    """The configuration with packs that the ranks can share evenly, and what a run would have to set."""
    multiple = math.lcm(config.packs.packs_multiple, ranks)
    if multiple == config.packs.packs_multiple:
        return config, []
    packs = config.packs.model_copy(update={"packs_multiple": multiple})
    return config.model_copy(update={"packs": packs}), [f"{ranks} ranks need --set packs.packs_multiple={multiple}"]


def _workload(
    recipe_uri: str, size: "Variant", config: "TrainConfig", base: str, store: str, samples: int | None, mixture: "Mixture"
) -> tuple["Workload", list[str]]:
    """The best knowledge there is: the unified corpus, the raw files, or assumptions."""
    from model.recipes import load_recipe
    from model.train.workload import assumed_shapes, drawn_workload

    if recipe_uri:
        recipe = load_recipe(recipe_uri)
        if samples is None and (known := _exact(recipe, size, config, base, store)) is not None:
            return known, []
        return _surveyed(recipe, size, config, base, store, samples)
    number = samples or PAPER_SAMPLES
    source = (
        f"assumed: {number:,} samples, {mixture.picture_share:.0%} with a picture of mean aspect {mixture.aspect:g}, "
        f"{mixture.text_tokens:g} text tokens, {mixture.supervised_share:.0%} of them in answers"
    )
    return drawn_workload(assumed_shapes(mixture), number, size, config, "corner", source), []


def _exact(recipe: "Recipe", size: "Variant", config: "TrainConfig", base: str, store: str) -> "Workload | None":
    """The plan that training would follow, where the recipe's corpus and a tokenizer are there."""
    from model import storage
    from model.contracts.corpus import MANIFEST_FILE
    from model.data.lengths import corpus_lengths
    from model.data.plan import make_plan
    from model.train.spec import read_corpus_manifest
    from model.train.workload import exact_workload

    base = base or _nano_base(size, store)
    if not base:
        return None
    asked = [(dataset.name, dataset.share) for dataset in recipe.datasets]
    folder = storage.join(store, "corpora")
    for file in storage.list_files(folder):
        name, _, last = file.path.partition("/")
        if last != MANIFEST_FILE:
            continue
        uri = storage.join(folder, name)
        corpus = read_corpus_manifest(uri)
        if corpus.recipe == recipe.name and [(one.name, one.share) for one in corpus.datasets] == asked:
            plan = make_plan(corpus, corpus_lengths(uri, base, store), size, config)
            return exact_workload(plan, f"exact: corpus {uri}")
    return None


def _surveyed(
    recipe: "Recipe", size: "Variant", config: "TrainConfig", base: str, store: str, samples: int | None
) -> tuple["Workload", list[str]]:
    from model.data.lengths import open_pieces
    from model.train.survey import survey
    from model.train.workload import drawn_workload

    base = base or _nano_base(size, store)
    found = survey(recipe, open_pieces(base) if base else None)
    if not found.shapes:
        raise ConfigError(f"the raw data of recipe {recipe.name} holds no sample; check the roots of its datasets.")
    source = f"foretold from a look at the raw files of {len(recipe.datasets)} datasets"
    workload = drawn_workload(found.shapes, samples or found.num_samples, size, config, recipe.padding, source)
    return workload, list(found.notes)


def _nano_base(size: "Variant", store: str) -> str:
    """Nano's own base where this workspace has made it; else nothing."""
    from model import storage
    from model.weights import read_base

    uri = storage.join(store, "bases", "nano")
    try:
        return uri if size.name == "nano" and read_base(uri) else ""
    except SphinxError:
        return ""


def _assumption(told: "Estimate", machine: "Machine") -> str:
    unit = "a GPU" if machine.kind == "gpu" else "a process"
    return f"hours assume an MFU of {told.mfu:.0%} of {told.peak_tflops:g} TFLOPs {unit}: an assumption, not a measurement"


def _rounded(number: int) -> str:
    """Three digits and a word, for people."""
    for unit, word in ((1e9, " billion"), (1e6, " million")):
        if number >= unit:
            return f"{number / unit:.3g}{word}"
    return f"{number:,}"


def _fields(variant: str, machine: "Machine", workload: "Workload", told: "Estimate", notes: list[str]) -> dict:
    counted = {name: value for name, value in vars(workload).items() if name != "steps"}
    return {"variant": variant, "machine": asdict(machine), "workload": counted, "estimate": asdict(told), "notes": notes}


def _show(
    size: "Variant", config: "TrainConfig", machine: "Machine", workload: "Workload", told: "Estimate", notes: list[str]
) -> None:
    from rich.console import Console
    from rich.table import Table

    unit = "GPU" if machine.kind == "gpu" else "process"
    views = max(1, workload.real_views + workload.skipped_views)
    what = {
        "samples": f"{workload.samples:,}",
        "steps": f"{workload.num_steps:,} of {workload.packs_per_step} packs",
        "tokens": f"{_rounded(workload.tokens)}, {workload.supervised_tokens / max(1, workload.tokens):.0%} supervised",
        "views": f"{_rounded(workload.real_views)} real, {workload.skipped_views / views:.0%} skipped",
        "pack fill": f"{workload.pack_fill_tokens:.0%} of the token budget, {workload.pack_fill_views:.0%} of the view budget",
        "longer than a pack": f"{workload.cut_samples:,} samples lose turns, {sum(workload.rejected.values()):,} are left out",
        "FLOPs of a step": f"{told.flops_per_step / 1e12:,.4g} TFLOP",
        "balance of ranks": f"{told.balance:.0%}",
        "seconds a step": f"{told.seconds_per_step:,.3g}",
        "hours": f"{told.hours:,.3g}" + (f" ({told.hours * machine.ranks:,.4g} GPU hours)" if machine.kind == "gpu" else ""),
    }
    console = Console()
    ranks = f"{machine.ranks} {unit}" if machine.ranks == 1 else f"{machine.ranks} {'GPUs' if unit == 'GPU' else 'processes'}"
    run = Table(title=f"{size.name} on {ranks}, epochs: {config.epochs:g}", title_justify="left", show_header=False)
    for name, value in what.items():
        run.add_row(name, value)
    memory = Table(title=f"GB of memory per {unit}, ZeRO-{config.engine.zero_stage}", title_justify="left", show_header=False)
    for name, value in told.memory_gb.items():
        memory.add_row(name, f"{value:,.2f}")
    memory.add_row("together", f"{sum(told.memory_gb.values()):,.2f}", style="bold")
    for part in (run, memory):
        console.print(part)
    for note in [workload.source, *notes]:
        console.print(f"· {note}", highlight=False)
    if told.fits is None:
        there = f"{machine.memory_gb:.3g} GB" + (" a GPU" if machine.kind == "gpu" else " on this machine")
        console.print(f"[green]It fits[/green] into {there}.", highlight=False)

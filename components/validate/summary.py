"""What a run will do, as Markdown for the Kubeflow UI, which shows one table right below the other: each has a heading."""

from collections.abc import Sequence

from model.contracts.checkpoint import BaseModel
from model.contracts.family import CheckedMember
from model.contracts.recipe import Recipe
from model.train.config import TrainConfig


def markdown(recipe: Recipe, config: TrainConfig, base: BaseModel | None, registered_name: str) -> str:
    """The plan of a run in three tables.

    Args:
        base: None where it is made only when the run starts.
    """
    training = [
        ("variant", config.variant),
        ("base", f"{base.name} ({base.licence})" if base else "made when the run starts"),
        ("epochs", f"{config.epochs:g}"),
        ("learning rate", f"{config.optimizer.learning_rate:g}"),
        ("samples a step", str(config.packs.batch_size)),
        ("tokens a pack", str(config.packs.tokens_per_pack)),
        ("ZeRO stage", str(config.engine.zero_stage)),
        ("registered as", registered_name),
    ]
    return "\n\n".join(
        (
            f"# {recipe.name}",
            *_data_tables(recipe),
            "## Training",
            _table(("setting", "value"), training),
        )
    )


def family_markdown(recipe: Recipe, members: Sequence[CheckedMember]) -> str:
    """The plan of a family run in three tables."""
    rows = []
    for one in members:
        config = TrainConfig.model_validate_json(one.train_config_json)
        ranks = f"{one.num_nodes} × {one.processes_per_node}"
        rows.append(
            (
                one.name,
                one.variant,
                ranks,
                f"{config.epochs:g}",
                f"{config.optimizer.learning_rate:g}",
                one.base_uri,
                one.registered_name,
            )
        )
    head = ("member", "variant", "nodes × processes", "epochs", "learning rate", "base", "registered as")
    return "\n\n".join((f"# {recipe.name}", *_data_tables(recipe), "## Members", _table(head, rows)))


def _data_tables(recipe: Recipe) -> tuple[str, ...]:
    datasets = [
        (one.name, one.family, f"{one.share:g}", f"{one.held_out_share:.0%}", one.licence, one.root) for one in recipe.datasets
    ]
    benchmarks = [
        (one.name, one.benchmark, f"pictures held out of {one.held_out_of}" if one.held_out_of else one.root)
        for one in recipe.benchmarks
    ]
    return (
        "## Data",
        _table(("dataset", "family", "share", "held out", "licence", "raw files"), datasets),
        "## Benchmarks",
        _table(("benchmark", "scorer", "questions"), benchmarks),
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"

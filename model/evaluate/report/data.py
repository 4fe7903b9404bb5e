"""What the model was trained on: datasets with their size, share and licence, what was held out, and what was left out and why."""

from collections import Counter
from collections.abc import Sequence

from model.contracts.corpus import CorpusDataset, CorpusManifest
from model.evaluate.report import numbers
from model.evaluate.report.figures import bar
from model.evaluate.report.markup import Child, Column, Markup, folded, join, section, table, tag

_COLUMNS = (
    Column("Dataset"),
    Column("Share of an epoch", "plot"),
    Column("Samples", "number"),
    Column("Passes", "number"),
    Column("Turns", "number"),
    Column("Pictures", "number"),
    Column("Held out", "number"),
    Column("Left out", "number"),
    Column("Licence"),
)


def data_section(corpus: CorpusManifest) -> Markup:
    """The corpus, a row a dataset, with tasks and reject reasons folded below."""
    datasets = corpus.datasets
    epoch = sum(_epoch_samples(dataset) for dataset in datasets)
    pictures = sum(dataset.manifest.pictures for dataset in datasets)
    held_out = sum(dataset.manifest.held_out_pictures for dataset in datasets)
    lead = (
        f"{numbers.plural(len(datasets), 'dataset')} with {numbers.plural(corpus.samples, 'sample')}; an epoch shows about "
        f"{numbers.count(epoch)}, since a dataset may be passed over more or less than once. "
        f"{numbers.plural(held_out, 'picture')} beside the {numbers.count(pictures)} in training "
        f"{'is' if held_out == 1 else 'are'} held out and never trained on."
    )
    return section(
        "data",
        "What was in the data",
        table(
            "Datasets of the corpus, after unification.",
            _COLUMNS,
            [_row(one, epoch) for one in datasets],
            _foot(corpus, epoch),
            wide=True,
        ),
        tag("p", _footnote(corpus), class_="note"),
        folded("Samples by task", _task_table(datasets)),
        folded("What was left out, by reason", _reject_table(datasets)) if _has_rejects(datasets) else None,
        lead=lead,
    )


def _epoch_samples(dataset: CorpusDataset) -> int:
    return round(dataset.manifest.samples * dataset.share)


def _row(dataset: CorpusDataset, epoch: int) -> list[Child]:
    manifest = dataset.manifest
    share = _epoch_samples(dataset) / epoch if epoch else 0.0
    return [
        join(tag("span", dataset.name, class_="name"), tag("span", manifest.family, class_="note")),
        join(
            tag("span", numbers.percent(share), class_="value"),
            bar(share, f"{dataset.name}: {numbers.percent(share)} of an epoch"),
        ),
        numbers.count(manifest.samples),
        f"× {dataset.share:g}",
        numbers.count(manifest.turns),
        numbers.count(manifest.pictures),
        numbers.count(manifest.held_out_pictures),
        numbers.count(sum(manifest.rejects.values())),
        manifest.licence,
    ]


def _foot(corpus: CorpusManifest, epoch: int) -> list[Child]:
    manifests = [dataset.manifest for dataset in corpus.datasets]
    return [
        "All",
        f"{numbers.plural(epoch, 'sample')}",
        numbers.count(sum(manifest.samples for manifest in manifests)),
        "",
        numbers.count(sum(manifest.turns for manifest in manifests)),
        numbers.count(sum(manifest.pictures for manifest in manifests)),
        numbers.count(sum(manifest.held_out_pictures for manifest in manifests)),
        numbers.count(sum(sum(manifest.rejects.values()) for manifest in manifests)),
        numbers.plural(len({manifest.licence for manifest in manifests}), "licence"),
    ]


def _footnote(corpus: CorpusManifest) -> str:
    words = (
        "Pictures: stored pictures, counted once a sample that shows them. Held out: pictures that only judging sees. "
        "Left out: faulty samples and parts of samples, and what the rules leave out; each is a line of the reject file."
    )
    if corpus.left_out_samples:
        words += (
            f" {numbers.plural(corpus.left_out_samples, 'more sample')} left the corpus because another dataset holds out their "
            "picture or a double of it."
        )
    return words


def _task_table(datasets: Sequence[CorpusDataset]) -> Markup:
    tasks: Counter[str] = Counter()
    for dataset in datasets:
        tasks.update(dataset.manifest.tasks)
    total = sum(tasks.values())
    rows: list[list[Child]] = [
        [
            task,
            numbers.count(samples),
            numbers.percent(samples / total),
            ", ".join(dataset.name for dataset in datasets if task in dataset.manifest.tasks),
        ]
        for task, samples in tasks.most_common()
    ]
    columns = [Column("Task"), Column("Samples", "number"), Column("Of all samples", "number"), Column("From")]
    return table("Samples by task, before datasets are passed over more or less than once.", columns, rows)


def _has_rejects(datasets: Sequence[CorpusDataset]) -> bool:
    return any(dataset.manifest.rejects for dataset in datasets)


def _reject_table(datasets: Sequence[CorpusDataset]) -> Markup:
    by_reason: dict[str, Counter[str]] = {}
    for dataset in datasets:
        for reason, number in dataset.manifest.rejects.items():
            by_reason.setdefault(reason, Counter())[dataset.name] += number
    rows: list[list[Child]] = [
        [reason, numbers.count(where.total()), ", ".join(f"{name} {numbers.count(n)}" for name, n in where.most_common())]
        for reason, where in sorted(by_reason.items(), key=lambda item: (-item[1].total(), item[0]))
    ]
    columns = [Column("Reason"), Column("Number", "number"), Column("Where")]
    return table("Samples, and parts of samples that stayed, by the reason for which they were left out.", columns, rows)

"""Recipe: which raw data a model is made of, how it is mixed, what it is judged on, and when it is promoted."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from model.contracts.base import Contract, Part

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?$")]
"""Lower-case letters, digits and dashes: valid in a file name, an S3 key, a Kubernetes label and an MLflow tag."""

Option = str | int | float | bool


class DatasetSpec(Part):
    """One raw dataset in the layout its authors publish."""

    name: Name
    """Name of the dataset in this recipe; the source of its samples in every report."""
    family: str
    """Which reader reads it, for example coco_detection; `sphinx-x validate` lists the families that exist."""
    root: str
    """Folder of the raw files: a path or a URI (file://, s3://, ...)."""
    split: str = "train"
    """Official split to read, where the family has splits."""
    share: float = Field(default=1.0, gt=0, le=100)
    """Passes over this dataset in one epoch: 0.5 takes a fixed half, 2 shows every sample twice."""
    held_out_share: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the pictures that training never sees, chosen by picture and the recipe's seed."""
    limit: int | None = Field(default=None, gt=0)
    """Read at most this many pictures (after the held-out ones are taken away)."""
    licence: str = "unknown"
    """Licence of the data, as an SPDX identifier where one exists; travels to the model card."""
    options: dict[str, Option] = {}
    """Settings of the family's reader; its docstring names them."""


class BenchmarkSpec(Part):
    """One benchmark on official files, or on the held-out pictures of one of the recipe's datasets."""

    name: Name
    """Name of the benchmark in this recipe and in the report."""
    benchmark: str
    """Which benchmark reader and scorer, for example vqav2; `sphinx-x validate` lists those that exist."""
    root: str = ""
    """Folder of the official files; empty where `held_out_of` is given."""
    split: str = "val"
    """Official split to read."""
    held_out_of: Name | None = None
    """Name of a dataset of this recipe: ask about the pictures that it holds out."""
    limit: int | None = Field(default=None, gt=0)
    """Ask at most this many questions: the first ones in a fixed shuffled order."""
    options: dict[str, Option] = {}
    """Settings of the benchmark's reader."""

    @model_validator(mode="after")
    def _has_questions(self) -> Self:
        if bool(self.root) == bool(self.held_out_of):
            raise ValueError("give either root (official files) or held_out_of (a dataset of this recipe)")
        return self


class GatePolicy(Part):
    """When a candidate becomes champion."""

    minimum_scores: dict[Name, float] = {}
    """Least score (0 to 1) by benchmark; the first champion needs these, and so does every later one."""
    allowed_regression: float = Field(default=0.01, ge=0, le=1)
    """How far a benchmark's score may lie below the champion's before the gate closes."""
    refused_licences: tuple[str, ...] = ()
    """Licences whose data or base weights keep a model from promotion, for example CC-BY-NC-4.0."""


class Recipe(Contract):
    """One file that names the data; with a variant's name it defines a run."""

    name: Name
    """Name of the recipe; registered models are called sphinx-x-<variant> unless `model_name` says otherwise."""
    model_name: Name | None = None
    """Name of the registered model."""
    seed: int = Field(default=0, ge=0)
    """Seed of held-out choices, sampling and order."""
    padding: Literal["corner", "centre"] = "corner"
    """Where a picture lies in its padded square: corner (top left, skips padded views) or centre (the original's)."""
    datasets: tuple[DatasetSpec, ...] = Field(min_length=1)
    """Training data."""
    benchmarks: tuple[BenchmarkSpec, ...] = Field(min_length=1)
    """What the model is judged on."""
    gate: GatePolicy = GatePolicy()
    """When a candidate becomes champion."""
    max_reject_share: float = Field(default=0.02, ge=0, le=1)
    """Share of a dataset's samples that may be rejected before its step fails."""

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        for noun, names in (("dataset", [d.name for d in self.datasets]), ("benchmark", [b.name for b in self.benchmarks])):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"the {noun} name {twice[0]} is used twice; names must differ")
        datasets = {dataset.name: dataset for dataset in self.datasets}
        for benchmark in self.benchmarks:
            if benchmark.held_out_of is None:
                continue
            if benchmark.held_out_of not in datasets:
                raise ValueError(
                    f"benchmark {benchmark.name} asks about {benchmark.held_out_of}, which is none of the datasets"
                )
            if datasets[benchmark.held_out_of].held_out_share == 0:
                raise ValueError(f"benchmark {benchmark.name} needs held_out_share above 0 in dataset {benchmark.held_out_of}")
        unknown = sorted(set(self.gate.minimum_scores) - {benchmark.name for benchmark in self.benchmarks})
        if unknown:
            raise ValueError(f"gate.minimum_scores names {unknown[0]}, which is none of the benchmarks")
        return self

    def dataset(self, name: str) -> DatasetSpec:
        return next(dataset for dataset in self.datasets if dataset.name == name)

    def benchmark(self, name: str) -> BenchmarkSpec:
        return next(benchmark for benchmark in self.benchmarks if benchmark.name == name)

    def registered_name(self, variant: str) -> str:
        """Name of the model in the registry."""
        return self.model_name or f"sphinx-x-{variant}"

"""`sphinx-x validate`: whether a recipe can run, in seconds."""

from pipelines.commands.options import (
    DEFAULT_WORKSPACE,
    Base,
    Mode,
    ModelName,
    Processes,
    RecipeFile,
    Settings,
    VariantName,
    Workspace,
)


def validate(
    recipe: RecipeFile,
    variant: VariantName = "nano",
    settings: Settings = None,
    base: Base = "",
    processes: Processes = 2,
    mode: Mode = "official",
    name: ModelName = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Check a recipe in seconds: fields, raw data, benchmarks, training options, store and MLflow.

    Examples:

        sphinx-x validate my-data.yaml

        sphinx-x validate my-data.yaml --variant tiny --base /models/tiny --set epochs=2
    """
    import yaml
    from rich.console import Console
    from rich.markdown import Markdown

    from components.validate import logic
    from pipelines.commands.options import overrides_of
    from pipelines.local import store_of, use_mlflow_of

    use_mlflow_of(workspace)
    overrides = yaml.safe_dump(overrides_of(settings)) if settings else ""
    checked = logic.check(recipe, store_of(workspace), base, variant, overrides, 1, processes, mode, name, here=True)
    Console().print(Markdown(checked.summary))

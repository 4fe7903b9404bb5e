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
    from components.validate.summary import markdown
    from pipelines.commands.options import overrides_of
    from pipelines.local import store_of, use_mlflow_of
    from pipelines.prelude import known_base

    use_mlflow_of(workspace)
    overrides = yaml.safe_dump(overrides_of(settings)) if settings else ""
    found = logic.check_recipe(recipe, mode, name)
    config = logic.check_training(variant, overrides, 1, processes, here=True)
    base_there = known_base(variant, base, store_of(workspace))
    logic.check_places(store_of(workspace))
    Console().print(Markdown(markdown(found, config, base_there, found.registered_name(variant))))

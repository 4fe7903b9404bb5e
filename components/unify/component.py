"""unify: one raw dataset of the recipe becomes shards; the DAG runs it once for each."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.OPS, install_kfp_package=False)
def unify(recipe_json: str, dataset: str, store_uri: str, manifest: dsl.Output[dsl.Dataset]) -> str:
    """Turn one raw dataset into content-addressed shards with an index; returns at once where that was done before.

    Args:
        recipe_json: The resolved recipe.
        dataset: Name of the dataset in it.
        store_uri: The store; the dataset goes below datasets/ in it.
        manifest: The dataset's manifest; the shards stay in the store.

    Returns:
        URI of the dataset's folder.
    """
    from components.shared.task import running

    with running("unify", dataset):
        from components.unify import logic

        uri, made = logic.run(recipe_json, dataset, store_uri)
        made.write(manifest.path)
        manifest.metadata = logic.metadata(uri, made)
        return uri

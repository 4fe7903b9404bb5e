"""merge: the unified datasets become one corpus."""

from typing import List  # noqa: UP035  kfp reads this name

from kfp import dsl

from components import images


@dsl.component(base_image=images.OPS, install_kfp_package=False)
def merge(recipe_json: str, dataset_uris: List[str], store_uri: str, manifest: dsl.Output[dsl.Dataset]) -> str:  # noqa: UP006
    """Join the unified datasets into one corpus, without samples whose picture any of them holds out; no shard is copied.

    Args:
        recipe_json: The resolved recipe: the datasets' order and shares.
        dataset_uris: Folders of the unified datasets.
        store_uri: The store; the corpus goes below corpora/ in it.
        manifest: The corpus's manifest.

    Returns:
        URI of the corpus's folder.
    """
    from components.shared.task import running

    with running("merge"):
        from components.merge import logic

        uri, made = logic.run(recipe_json, dataset_uris, store_uri)
        made.write(manifest.path)
        manifest.metadata = logic.metadata(uri, made)
        return uri

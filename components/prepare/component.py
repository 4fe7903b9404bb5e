"""prepare: what training starts from, and whether there is anything to train."""

from typing import NamedTuple

from kfp import dsl

from components import images


@dsl.component(base_image=images.TRAIN, install_kfp_package=False)
def prepare(
    corpus_uri: str,
    variant: str,
    registered_name: str,
    start_from: str,
    when_unchanged: str,
    base_uri: str,
    base_digest: str,
    store_uri: str,
    note: dsl.Output[dsl.Markdown],
) -> NamedTuple("Prepared", [("go_on", str), ("base_uri", str), ("base_digest", str), ("reason", str)]):  # type: ignore[valid-type]
    """Compare the corpus with what the newest registered version was trained on, and turn the champion into a base where asked.

    Args:
        corpus_uri: The corpus.
        variant: Size of the model.
        registered_name: Name in the registry.
        start_from: base, or champion (the base where there is no champion yet).
        when_unchanged: train, or stop: the run ends here where the newest version was trained on this very corpus.
        base_uri: Base directory of the variant.
        base_digest: Digest of its content.
        store_uri: The store; a base made of the champion goes below bases/ in it.
        note: What was decided, for people.

    Returns:
        yes or no, the base that training starts from, and the decision in a sentence.
    """
    from components.shared.task import running

    with running("prepare"):
        from components.prepare import logic

        prepared = logic.run(corpus_uri, variant, registered_name, start_from, when_unchanged, base_uri, base_digest, store_uri)
        with open(note.path, "w", encoding="utf-8") as file:
            file.write(prepared.reason + "\n")
        return prepared

"""Pictures of questions: read, checked and turned as their annotations saw them; and small copies for the report."""

import hashlib
import io
from collections.abc import Sequence

from PIL import Image

from model import storage
from model.data.pictures import PictureFault, inspect_picture
from model.data.sources.base import RawPicture
from model.evaluate.questions import Question

MAX_SHOWN = 24
_LONGEST_EDGE_PX = 512


def open_asked(picture: RawPicture) -> Image.Image:
    """The picture as RGB.

    Raises:
        PictureFault: it is missing, broken, or of another size than its boxes were measured in.
        StorageError: its place cannot be reached.
    """
    from model.sphinx_x.image_processing_sphinx_x import open_picture

    data = storage.read_bytes(picture.uri) if picture.data is None else picture.data
    _, _, upright = inspect_picture(data).shown(picture.annotated_px)
    try:
        return open_picture(data, upright)
    except ValueError as error:
        raise PictureFault("picture unreadable", str(error)) from error


def choose_shown(questions: Sequence[Question]) -> list[Question]:
    """Questions to show in a report: of all groups in turn, each about another picture as long as there are some."""
    groups: dict[str, list[Question]] = {}
    for one in sorted(questions, key=lambda one: hashlib.sha256(one.id.encode()).digest()):
        groups.setdefault(one.group, []).append(one)
    ordered = [
        members[place] for place in range(max(map(len, groups.values()), default=0))
        for _, members in sorted(groups.items()) if place < len(members)
    ]  # fmt: skip
    seen: set[str] = set()
    fresh: list[Question] = []
    again: list[Question] = []
    for one in ordered:
        (again if one.picture.uri in seen else fresh).append(one)
        seen.add(one.picture.uri)
    return (fresh + again)[:MAX_SHOWN]


def save_shown(questions: Sequence[Question], result_uri: str) -> None:
    """Write `<result>/pictures/<name>.jpg` for each question, longest edge 512 pixels; see `shown_name`."""
    for one in questions:
        image = open_asked(one.picture)
        image.thumbnail((_LONGEST_EDGE_PX, _LONGEST_EDGE_PX), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=88)
        storage.write_bytes(storage.join(result_uri, "pictures", f"{shown_name(one.id)}.jpg"), buffer.getvalue())


def shown_name(question_id: str) -> str:
    """File name of a question's picture, without extension."""
    return hashlib.sha256(question_id.encode()).hexdigest()[:16]

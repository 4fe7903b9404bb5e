"""pope: is this object in the picture? Official files of github.com/AoiDragon/POPE (output/coco).

    <root>/coco_pope_<split>.json  or  <split>.json      JSON lines: question_id, image, text, label (yes or no)
    <root>/images/  or  val2014/  or  the root           pictures by `image`

Splits: random, popular, adversarial. Prompt: the question with the short-answer suffix, as LLaVA and SPHINX ask it.
"""

from collections.abc import Iterator

from model.contracts.corpus import Reject
from model.data.holdout import picture_key
from model.data.prompts import short_question
from model.data.sources.base import RawInputs, RawPicture
from model.data.sources.files import find_file, find_folder, json_lines, stay_inside
from model.evaluate.benchmarks.base import BenchmarkOptions, Request
from model.evaluate.questions import Question


class PopeOptions(BenchmarkOptions):
    """Settings of the benchmark."""

    images: str = ""
    """Folder of pictures below the root, where its name is not the layout's; `.` is the root."""


def inputs(request: Request) -> RawInputs:
    """The questions file and the folder of pictures."""
    spec = request.spec
    folders = (request.options.images,) if request.options.images else ("images", "val2014", ".")
    return RawInputs(
        annotations=(find_file(spec.root, (f"coco_pope_{spec.split}.json", f"{spec.split}.json"), "POPE questions file"),),
        pictures=find_folder(spec.root, folders, "pictures"),
    )


def read(request: Request) -> Iterator[Question | Reject]:
    """Questions in the order of the file."""
    files = inputs(request)
    for number, row in json_lines(files.annotations[0]):
        fields = [row.get(key) if isinstance(row, dict) else None for key in ("image", "text", "label")]
        texts = [field.strip() for field in fields if isinstance(field, str) and field.strip()]
        if len(texts) < 3 or texts[2].lower() not in ("yes", "no"):
            yield Reject(id=f"line {number + 1}", reason="malformed row", detail=str(row)[:120], kind="part")
            continue
        image, question, label = texts
        if (uri := stay_inside(files.pictures, image)) is None:
            yield Reject(id=f"line {number + 1}", reason="picture path leaves its folder", detail=image, kind="part")
            continue
        yield Question(
            id=str(row.get("question_id", number + 1)),
            picture=RawPicture(key=picture_key(image), uri=uri),
            prompt=short_question(question),
            expected=(label.lower(),),
            choices=("yes", "no"),
        )

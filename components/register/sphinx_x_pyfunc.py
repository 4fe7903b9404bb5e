"""How `mlflow.pyfunc` asks this model. Lies in the registered model's folder and uses nothing but that folder.

    model = mlflow.pyfunc.load_model("models:/sphinx-x-nano@champion")
    model.predict([{"image": Path("photo.jpg"), "question": "What is in the picture?"}])

`image` is a `pathlib.Path`, the file's bytes, or base64 text (a data: URL too); a list of them for several pictures; nothing for a
question about none. A text is never taken for a path: a scoring server gets texts from strangers, who must not name its files. The parameter `max_new_tokens` bounds the answer. Loading runs the model's own code (`trust_remote_code`).
"""

import base64
import binascii
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

ROWS_AT_ONCE = 8


class SphinxXAnswers(PythonModel):
    """Columns image and question to the column answer."""

    def load_context(self, context: Any) -> None:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        folder = context.artifacts["checkpoint"]
        on_gpu = torch.cuda.is_available()
        dtype = torch.bfloat16 if on_gpu else torch.float32
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True, dtype=dtype).eval()
        self.model.to("cuda" if on_gpu else "cpu")
        self.processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        # The folder's own reader of untrusted bytes, from the module that transformers loaded out of it.
        self.open_picture = sys.modules[type(self.processor.image_processor).__module__].open_picture

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        questions = [str(question) for question in model_input["question"]]
        images = model_input["image"] if "image" in model_input else [None] * len(questions)
        pictures = [self._pictures(value, row) for row, value in enumerate(images)]
        answers: list[str] = []
        for start in range(0, len(questions), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            inputs = self.processor(pictures[rows], questions[rows]).to(self.model.device)
            ids = self.model.generate(
                **inputs, max_new_tokens=int((params or {}).get("max_new_tokens", 256)), stop_ids=self.processor.stop_ids()
            )
            answers += self.processor.batch_decode(ids)
        return pd.DataFrame({"answer": answers})

    def _pictures(self, value: Any, row: int) -> list[Any]:
        if value is None or (isinstance(value, float) and value != value):  # pandas writes NaN where a row has no picture
            return []
        values = value if isinstance(value, list | tuple) else [value]
        try:
            return [self.open_picture(_bytes_of(one), upright=True) for one in values]
        except ValueError as error:
            raise ValueError(f"row {row}, column image: {error}") from error


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Path):
        return value.read_bytes()
    text = str(value)
    try:
        return base64.b64decode(text.rpartition(",")[2] if text.startswith("data:") else text, validate=True)
    except binascii.Error:
        raise ValueError(f"{text[:80]!r} is no base64 text; give a pathlib.Path, bytes or base64") from None


set_model(SphinxXAnswers())

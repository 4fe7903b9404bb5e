"""What every contract shares: frozen fields, a schema version, canonical JSON, a content digest.

A `Part` is a value inside a contract or a configuration; a `Contract` is a file that one step hands to another.
Both refuse unknown fields, so a misspelt key is an error and not a silent default.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from model.errors import ConfigError, ContractError


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, UTF-8; equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    """sha256 of a JSON-able value, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Part(BaseModel):
    """A frozen value whose attribute docstrings become its schema's descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    @classmethod
    def from_fields(cls, fields: Any, where: str) -> Self:
        """Build from parsed YAML or JSON.

        Raises:
            ConfigError: in one sentence, the first wrong field of `where` and what it should be.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise ConfigError(f"{where}: {_first_problem(cls, error)}") from error

    def content_digest(self) -> str:
        """sha256 of all fields; equal content, equal digest, whatever the order of keys in the file."""
        return digest_of(self.model_dump(mode="json"))


class Contract(Part):
    """A file between two steps; `VERSION` grows whenever a reader of the old form would misread the new one."""

    VERSION: ClassVar[int] = 1
    schema_version: int = 1
    """Version of this schema; a reader refuses any other than its own."""

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Self:
        """Parse the text of a contract file that was read from `where`.

        Raises:
            ContractError: the text is no JSON, has another schema version, or a wrong field.
        """
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise ContractError(f"{where} is not JSON ({error}); remove it and run the step that writes it again.") from error
        version = fields.get("schema_version") if isinstance(fields, dict) else None
        if version != cls.VERSION:
            raise ContractError(
                f"{where} has schema version {version}, this program reads {cls.VERSION} of {cls.__name__}; "
                "run the step that writes it again, or use the program version that wrote it."
            )
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise ContractError(f"{where}: {_first_problem(cls, error)}") from error

    def to_json(self) -> str:
        """Readable JSON text with a final newline."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, path: str | Path) -> None:
        """Write to a local path (a Kubeflow artifact); object storage goes through `model.storage`."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read from a local path (a Kubeflow artifact)."""
        return cls.from_json(Path(path).read_bytes(), str(path))


def _first_problem(schema: type[BaseModel], error: ValidationError) -> str:
    """The first validation problem as a sentence; an unknown field lists the fields that exist there."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(place) for place in problem["loc"]) or "the file"
    more = f" ({error.error_count() - 1} more after it)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        known = ", ".join(sorted(schema.model_fields)) if len(problem["loc"]) == 1 else "those of the schema"
        return f"unknown field '{field}'; the fields are {known}{more}."
    if problem["type"] == "missing":
        return f"field '{field}' is missing; add it{more}."
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    return f"field '{field}': {message}, but it is {str(problem['input'])[:80]!r}{more}."

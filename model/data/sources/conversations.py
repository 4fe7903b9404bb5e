"""Dialogues in the forms in which public text and instruction sets are written, as turns.

| form | sets |
| --- | --- |
| `conversations: [{from, value}]` | LLaVA, ShareGPT4V, LVIS-Instruct4V, LLaVAR, Flan-mini |
| `messages: [{role, content}]` | chat files of many tools |
| `data: [user, assistant, user, ...]` | UltraChat |
| `system_prompt`, `question`, `response` | OpenOrca |
| `query`, `response` | MetaMathQA |
| `instruction`, optional `input`, `output` | MathInstruct, Evol-Instruct-Code, Alpaca |
"""

from typing import Any

from model.contracts.corpus import Turn

_ASKS = ("human", "user")
_ANSWERS = ("gpt", "assistant", "model", "bot")


class RowFault(ValueError):
    """A row that holds no usable dialogue."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def turns_of(row: Any) -> list[Turn]:
    """The turns of one row, in whichever of the forms it is.

    A system text goes before the first question; a last question without answer is cut off; `<image>` is taken out
    wherever it stands, because the dialogue template puts pictures first.

    Raises:
        RowFault: no known form, roles that do not alternate, or an empty question or answer.
    """
    if not isinstance(row, dict):
        raise RowFault("malformed row", str(row)[:120])
    said = _said(row)
    system = ""
    if said and said[0][0] == "system":
        system = said.pop(0)[1].strip()
    if said and said[-1][0] == "asks":
        said.pop()
    if not said:
        raise RowFault("no answer")
    if [role for role, _ in said] != ["asks", "answers"] * (len(said) // 2):
        raise RowFault("roles do not alternate", ", ".join(role for role, _ in said)[:120])
    texts = [_without_marks(text) for _, text in said]
    if system:
        texts[0] = f"{system}\n\n{texts[0]}".strip()
    if not all(texts):
        raise RowFault("empty turn", f"turn {texts.index('') // 2}")
    return [Turn(question=question, answer=answer) for question, answer in zip(texts[::2], texts[1::2], strict=True)]


def _said(row: dict) -> list[tuple[str, str]]:
    """(asks, answers or system; text) of everything said."""
    for listed, role_key, text_key in (("conversations", "from", "value"), ("messages", "role", "content")):
        if isinstance(row.get(listed), list):
            return [_one(entry, role_key, text_key) for entry in row[listed]]
    if isinstance(row.get("data"), list):
        return [("answers" if place % 2 else "asks", _text(entry)) for place, entry in enumerate(row["data"])]
    for question_key, answer_key in (("question", "response"), ("query", "response"), ("instruction", "output")):
        if question_key in row and answer_key in row:
            question, more = _text(row[question_key]), _text(row.get("input") or "")
            if question_key == "instruction" and more.strip():
                question = f"{question}\n\n{more}"
            system = _text(row.get("system_prompt") or "")
            return [*([("system", system)] if system.strip() else []), ("asks", question), ("answers", _text(row[answer_key]))]
    raise RowFault("malformed row", f"no known form; keys {', '.join(map(str, sorted(row, key=str)))[:120]}")


def _one(entry: Any, role_key: str, text_key: str) -> tuple[str, str]:
    if not isinstance(entry, dict) or role_key not in entry:
        raise RowFault("malformed row", str(entry)[:120])
    role = str(entry[role_key]).lower()
    name = "asks" if role in _ASKS else "answers" if role in _ANSWERS else "system" if role == "system" else ""
    if not name:
        raise RowFault("unknown role", role[:40])
    return name, _text(entry.get(text_key))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise RowFault("malformed row", f"{str(value)[:80]} is no text")
    return value


def _without_marks(text: str) -> str:
    return text.replace("<image>\n", "").replace("\n<image>", "").replace("<image>", "").strip()

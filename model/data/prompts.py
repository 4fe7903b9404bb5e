"""The wording of every kind of question and answer, for making training data and for asking in evaluation.

Questions quoted in the paper (arXiv 2402.05935) or in its authors' demo and evaluation code are used as they stand; for
the rest the wording is ours: the full template lists were never released. No special tokens for any task.
"""

import re
from collections.abc import Sequence

REFERRING = "Please provide the bounding box coordinate of the region this sentence describes: {}."
SHORT_ANSWER = "{}\nAnswer the question using a single word or phrase."
SPOTTING = "Detect all regions in the image that contain text and identify their content."
LAYOUT = "Detect the layout of the document in the image."
DETECT_ALL = "Detect all {} shown in the image."
# Not documented, ours:
SPOTTING_IN = "Detect all regions in the area {} of the image that contain text and identify their content."
LAYOUT_IN = "Detect the layout of the area {} of the document in the image."
READ_REGION = "Read the text in the region {} of the image."
READ_PAGE = "Read all text in the image."

KEY_FIELDS: dict[str, str] = {
    "company": "What is the name of the company on the receipt?",
    "date": "What is the date on the receipt?",
    "address": "What is the address of the company on the receipt?",
    "total": "What is the total amount on the receipt?",
}
"""Questions of the four key fields of SROIE; asked with `SHORT_ANSWER`."""

_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)


def short_question(question: str) -> str:
    """A question that wants a word or a phrase."""
    return SHORT_ANSWER.format(question)


def referring_question(sentence: str) -> str:
    """Ask for the box of what a sentence describes; its own full stop is dropped, the prompt has one."""
    return REFERRING.format(sentence.rstrip(" ."))


def detection_question(class_name: str) -> str:
    """Ask for all boxes of a class."""
    return DETECT_ALL.format(class_name)


def detection_answer(class_name: str, boxes: Sequence[str]) -> str:
    """All boxes of one class; `boxes` are texts without brackets.

    >>> detection_answer("cup", ["0.10,0.20,0.30,0.40", "0.50,0.50,0.60,0.60"])
    'There are two cup[0.10,0.20,0.30,0.40;0.50,0.50,0.60,0.60] in the image.'
    """
    if len(boxes) == 1:
        return f"There is a {class_name}[{boxes[0]}] in the image."
    return f"There are {number_word(len(boxes))} {class_name}[{';'.join(boxes)}] in the image."


def layout_answer(boxes_by_class: dict[str, list[str]]) -> str:
    """All regions of a page, the most frequent class first; a class of several regions opens with their number.

    >>> layout_answer({"title": ["0.10,0.10,0.90,0.20"], "text": ["0.10,0.20,0.50,0.30", "0.50,0.20,0.90,0.30"]})
    'There are two text[0.10,0.20,0.50,0.30;0.50,0.20,0.90,0.30] and title[0.10,0.10,0.90,0.20] in the image.'
    """
    ordered = sorted(boxes_by_class.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    parts = [
        (f"{number_word(len(boxes))} " if len(boxes) > 1 else "") + f"{name}[{';'.join(boxes)}]" for name, boxes in ordered
    ]
    alone = len(ordered) == 1 and len(ordered[0][1]) == 1
    return f"There {'is a' if alone else 'are'} {enumerate_in_words(parts)} in the image."


def spotting_answer(lines: Sequence[tuple[str, str]]) -> str:
    """All texts with their boxes (without brackets), in the order given.

    >>> spotting_answer([("Virtual", "0.25,0.30,0.52,0.38")])
    'There is Virtual[0.25,0.30,0.52,0.38] in the image.'
    """
    parts = [f"{text}[{box}]" for text, box in lines]
    return f"There {'is' if len(parts) == 1 else 'are'} {enumerate_in_words(parts)} in the image."


def number_word(number: int) -> str:
    """Up to twenty in words, then in digits."""
    return _NUMBER_WORDS[number] if number < len(_NUMBER_WORDS) else str(number)


def enumerate_in_words(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b, and c`."""
    if len(parts) < 3:
        return " and ".join(parts)
    return ", ".join(parts[:-1]) + f", and {parts[-1]}"


def class_words(label: str) -> str:
    """A label as words: blanks for underscores, no sense in brackets, lower case unless it is an abbreviation.

    >>> class_words("bow_(weapon)"), class_words("Moniter/TV "), class_words("RBC")
    ('bow', 'moniter/tv', 'RBC')
    """
    words = re.sub(r"\s*\([^()]*\)", "", label.replace("_", " "))
    words = " ".join(words.split())
    return words if words.isupper() else words.lower()

r"""Find the answer of a mathematical response: the last \boxed{} or <answer> tag.

In: the text of a response, of any length and content. Out: the answer's LaTeX, or why there is
none. The last marker counts, so that naming many answers earns nothing. A box that a length limit
cut off is no answer, even when an earlier box is complete: the response was still deciding.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

NoBox = Literal["no_answer", "last_line"]

MAX_ANSWER_CHARS = 20_000
# Each costs a search through the text, and a response may hold 50,000 of them.
_MAX_EMPTY_BOXES = 20
_MAX_TOGETHER = 12
_CONNECTOR_CHARS = 150
_CONNECTOR = re.compile(
    r"(?:[\s$,;&{}]|\\[()\[\],;:! ]|\\(?:text|mbox|q?quad|textbf)(?![A-Za-z])|and(?![A-Za-z])"
    r"|or(?![A-Za-z]))*"
)
# Escapes first: \{ is no brace, and in \\} the brace is not the escaped one.
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_WINDOW = 4_000  # of a response without a box, only its end is searched

_BOX_NAMES = ("\\boxed", "\\fbox", "\\framebox")
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])")
_ANSWER_CLOSE = re.compile(r"</answer\s*>", re.IGNORECASE)
_ANSWER_OPEN = re.compile(r"<answer\s*>", re.IGNORECASE)
_MARKER = re.compile(
    # #### is GSM8K's marker, but a heading in Markdown: hence what has to follow.
    r"####\s*(?=[-$\\(\d])|\banswer(?:\s+is)?\s*:|\b(?:final\s+)?answer\s+is\b:?|^A:|\banswer\s*=",
    re.I | re.M,
)
_FORMULA = re.compile(r"(?<!\\)\$+([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_VALUE = re.compile(
    _FORMULA.pattern + r"|\*\*([^*]+)\*\*|([-−]?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?%?)", re.DOTALL
)
_BARE_BOX = re.compile(r"\s*(-?\d[\d.,/]*|\\[A-Za-z]+|[^\s{}$\\])")


@dataclass(frozen=True)
class Extraction:
    """The answer as written (None: there is none) and where it was found.

    together: the answer with boxes right before it, of which it may be one part; else None.
    cut: the answer was too long, and is cut for display.
    """

    answer: str | None
    how: str
    together: str | None = None
    cut: bool = False


def extract(response: str, no_box: NoBox = "no_answer") -> Extraction:
    """The answer of a response; the policy `no_box` says what text without a marker is worth."""
    box = _last_box(response)
    tag = _last_tag(response)
    if tag is not None and (box is None or tag[0] > box[0]):
        # Asked for both, models write <answer>\boxed{5}</answer>.
        inner = _last_box(tag[1])
        if inner is not None:
            return inner[1]
        return _bounded(tag[1].strip(), "the last <answer>")
    if box is not None:
        return box[1]
    if no_box == "last_line":
        return _last_line(response)
    return Extraction(None, "no \\boxed{} and no <answer>")


def _last_box(text: str) -> tuple[int, Extraction] | None:
    """Position and content of the last box that is not empty; None when there is no box at all."""
    found: tuple[int, Extraction] | None = None
    end = len(text)
    for _ in range(_MAX_EMPTY_BOXES):
        box = _box_before(text, end)
        if box is None:
            return found
        found = found or (box.start, Extraction(None, "the last box is empty"))
        # Cut off by the length limit: an earlier box was not the last word.
        if box.content is None:
            return box.start, Extraction(None, box.how)
        content = box.content.strip()
        # Empty boxes are passed over: models end by repeating 'put the answer inside \boxed{}'.
        if content.strip("$"):
            answer = _bounded(content, box.how)
            return box.start, replace(answer, together=_together(text, box.start, content))
        end = box.start
    return found


class _Box(NamedTuple):
    start: int
    content: str | None  # None: not closed
    end: int
    how: str


def _box_before(text: str, end: int) -> _Box | None:
    """The last box macro that starts before `end`, with its content."""
    places = {name: text.rfind(name, 0, end) for name in _BOX_NAMES}
    while True:
        # rfind from the end: a regex would read the whole response to find its last box.
        name = max(places, key=places.__getitem__)
        start = places[name]
        if start < 0:
            return None
        match = _BOX.match(text, start)
        if match is not None:
            return _Box(start, *_content(text, match.end()))
        # This name alone: to search for the others again would be quadratic in \\boxedx\\boxedx...
        places[name] = text.rfind(name, 0, start)


def _together(text: str, start: int, last: str) -> str | None:
    """The boxes on the last one's line, or parted from it by an 'and' alone, as one list."""
    contents = [last]
    while len(contents) < _MAX_TOGETHER:
        box = _box_before(text, start)
        if box is None or not box.content or start - box.end > _CONNECTOR_CHARS:
            break
        between = text[box.end : start]
        # The box that contains this one, as in \boxed{\boxed{5}}, is no neighbour.
        if box.end > start or ("\n" in between and not _CONNECTOR.fullmatch(between)):
            break
        contents.append(box.content.strip())
        start = box.start
    if len(contents) == 1 or sum(map(len, contents)) > MAX_ANSWER_CHARS:
        return None
    return ", ".join(reversed(contents))


def _content(text: str, position: int) -> tuple[str | None, int, str]:
    """What follows a box macro and where it ends: a group in braces, or the token of \\boxed 5."""
    while position < len(text) and text[position].isspace():
        position += 1
    if not text.startswith("{", position):
        bare = _BARE_BOX.match(text, position)
        token = bare.group(1).rstrip(".,") if bare else ""
        if token.startswith("\\"):  # \boxed\frac12: as far as the formula goes
            token = re.split(r"\$|\n|\\\)|\\\]|\.\s", text[position : position + 500], maxsplit=1)[
                0
            ]
        return token, position + len(token), "the last box, without braces"
    depth = 0
    # One more for the opening brace, and one by which _bounded() sees that it is too long.
    limit = min(len(text), position + MAX_ANSWER_CHARS + 2)
    for match in _BRACES.finditer(text, position, limit):
        mark = match.group()
        if mark == "{":
            depth += 1
        elif mark == "}":
            depth -= 1
            if depth == 0:
                return text[position + 1 : match.start()], match.end(), "the last box"
    if limit < len(text):  # too long: _bounded refuses it
        return text[position + 1 : limit], limit, "the last box"
    return None, limit, "the last box is not closed"


def _last_tag(text: str) -> tuple[int, str] | None:
    """Position and content of the last complete <answer>...</answer>."""
    # An <answer> that opens before this is too long to be read anyway.
    tail_start = max(0, len(text) - MAX_ANSWER_CHARS - 2_000)
    tail = text[tail_start:]
    # Spares most responses a search that ignores case.
    if "</" not in tail:
        return None
    closing = None
    for closing in _ANSWER_CLOSE.finditer(tail):  # noqa: B007 the last one is wanted
        pass
    if closing is None:
        return None
    opening = None
    for opening in _ANSWER_OPEN.finditer(tail, 0, closing.start()):  # noqa: B007
        pass
    if opening is None:
        return None
    return tail_start + opening.end(), tail[opening.end() : closing.start()]


def _last_line(text: str) -> Extraction:
    """What the end says behind its last '####' or 'answer is', else its last formula or number."""
    tail = text[-_WINDOW:].rstrip()
    marker = None
    for marker in _MARKER.finditer(tail):  # noqa: B007 the last one is wanted
        pass
    if marker is not None:
        line = tail[marker.end() :].lstrip(" \t:*\n").split("\n", 1)[0]
        answer = _sentence(line)
        if answer:
            return _bounded(answer, f"after {marker.group(0)!r}, no box")
    # The last paragraph first: formulas above it are steps.
    paragraph = tail.rsplit("\n\n", 1)[-1]
    last = _last_formula(paragraph, _VALUE) or _last_formula(tail, _VALUE)
    if last:
        return _bounded(last, "the last formula or number, no box")
    return Extraction(None, "no box, no answer marker and no number")


def _sentence(line: str) -> str:
    """The last formula of the line's first sentence, or that sentence."""
    # With the space behind it: the point of 3.14 ends no sentence.
    sentence = re.split(r"[.!;](?:\s|$)", line, maxsplit=1)[0]
    return _last_formula(sentence) or sentence.strip(" *_`$")


def _last_formula(text: str, pattern: re.Pattern[str] = _FORMULA) -> str:
    r"""Content of the last $...$, \(...\) or \[...\]; '' without one. A sum's end is its result."""
    formulas = pattern.findall(text)
    if not formulas:
        return ""
    formula = "".join(formulas[-1]).strip()
    return formula.rpartition("=")[2].strip(" .,") or formula


def _bounded(answer: str, how: str) -> Extraction:
    if len(answer) > MAX_ANSWER_CHARS:
        return Extraction(
            answer[:200] + "...", f"longer than {MAX_ANSWER_CHARS} characters", cut=True
        )
    return Extraction(answer, how)

"""The program in a response: the last fenced python block that holds any code.

Models do not keep to CommonMark: fences stand behind prose and behind the last line of code, and
blocks in lists are indented deeply. Taken here is what a reader takes for the program.
"""

import re
import textwrap
from dataclasses import dataclass

# Possessive, and no run of fence characters is entered in its middle: linear on any text.
FENCE = re.compile(r"[ \t]*+(`{3,}+|~{3,}+)([^`]*)")
FENCE_IN_BLOCK = re.compile(r"[ \t]*+(`{3,}+|~{3,}+)(.*)")  # no code begins so: prose may follow
RUN = re.compile(r"`{3,}+|~{3,}+")
GLUED_PYTHON = re.compile(
    r"(?<![`~])(`{3,}+|~{3,}+)[ \t]*+(\{?\.?(?:python|py)[\d.]*\b[^`]*)$", re.IGNORECASE
)
GLUED_BARE = re.compile(r"(?<!`)(`{3,}+)[ \t]*+$")
ONE_LINE = re.compile(r"(?<!`)(`{3,}+)(?:python|py)[\d.]*[ \t]([^`]+)\1(?!`)", re.IGNORECASE)
BEHIND_CODE = {
    mark: re.compile(rf"([^{mark}]*[^{mark}\s\\])[ \t]*+({mark}{{3,}}+)(?:[ \t.,:].*)?")
    for mark in "`~"
}
# {.python}, python title="x", Python3.11, python:main.py: the name ends where its letters do.
LANGUAGE = re.compile(r"\{?\.?([A-Za-z][\w+#-]*)?")
PYTHON = re.compile(r"(python|py|pypy|cpython|ipython)\d*")
CODE_ON_FENCE = re.compile(
    r"(import|from|def|class|for|while|if|print|with|try|@)\b\W|\w[\w, ]*= ?[\w.\[]+\("
)
STRING = re.compile(r"""'''|\"\"\"|#.*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|["']""")
OTHER_LANGUAGE = re.compile(
    r"te?xt|plain(text)?|output|std(in|out)|input|console|pycon|python-repl|(ba|z)?sh|shell|json|"
    r"ya?ml|toml|xml|html|css|sql|csv|diff|c|cpp|c\+\+|cc|cs|csharp|java|javascript|js|ts|"
    r"typescript|go|rust|ruby|kotlin|haskell|pascal|php|perl|matlab|julia|latex|tex|math|"
    r"markdown|md|none"
)


@dataclass
class Block:
    """A fenced block: its opening fence, its language, the code on the fence's own line."""

    fence: str
    language: str
    first: list[str]

    def is_python(self) -> bool:
        """Whether the block is marked as Python."""
        return PYTHON.fullmatch(self.language) is not None

    def closes(self, fence: str) -> bool:
        """Whether a fence is of this block's character and at least as long."""
        return fence.startswith(self.fence)


def blocks(response: str) -> list[tuple[str, str]]:
    """(language, content) of each fenced block; the last one may lack its closing fence.

    A fence closes a block when it has the same character and is at least as long, also behind the
    last line of code. Text are fences with another language's name, and those within a
    triple-quoted string, provided that another fence closes the block.
    """
    lines = response.split("\n")
    found: list[tuple[str, str]] = []
    position, heed_strings = 0, True
    while position < len(lines):
        found += [("python", one[2] + "\n") for one in ONE_LINE.finditer(lines[position])]
        block = opened(lines[position])
        position += 1
        if block is None:
            continue
        closed = end_of(block, lines, position, heed_strings=heed_strings)
        if closed is None and heed_strings:
            # For all that follow: to try each block twice would take quadratic time.
            heed_strings = False
            closed = end_of(block, lines, position, heed_strings=False)
        end, last = closed or (len(lines), [])
        content = [*block.first, *lines[position:end], *last]
        found.append((block.language, "".join(line + "\n" for line in content)))
        # A line that opens the next block is read again.
        position = end if end < len(lines) and opens_python(lines[end]) else end + 1
    return found


def opened(line: str) -> Block | None:
    """The block that a line opens: by a fence at its start, or behind text."""
    start = FENCE.fullmatch(line)
    if start:
        return block_of(start[1], start[2])
    behind = GLUED_PYTHON.search(line)
    bare = None if behind else GLUED_BARE.search(line)
    # Inline code has two fences in its line.
    if not (behind or bare) or len(RUN.findall(line)) % 2 == 0:
        return None
    return block_of(behind[1], behind[2]) if behind else block_of(bare[1], "")  # type: ignore[index]


def block_of(fence: str, info: str) -> Block:
    """The block of a fence with what stands behind it: a language, attributes, or even code."""
    language = language_of(info)
    rest = info.strip().partition(" ")[2].strip() if PYTHON.fullmatch(language) else ""
    return Block(fence, language, [rest] if CODE_ON_FENCE.match(rest) else [])


def language_of(info: str) -> str:
    """The language that a fence names, in lower case; "" where it names none."""
    name = LANGUAGE.match(info.strip())
    return (name[1] or "").lower() if name else ""


def opens_python(line: str) -> bool:
    """Whether a line is nothing but a fence that names Python."""
    start = FENCE.fullmatch(line)
    return bool(start and PYTHON.fullmatch(language_of(start[2])))


def end_of(
    block: Block, lines: list[str], start: int, *, heed_strings: bool
) -> tuple[int, list[str]] | None:
    """The line that ends a block, and what of that line still belongs to it; None without one."""
    quote = ""
    for number in range(start, len(lines)):
        line = lines[number]
        if not (heed_strings and quote):
            fence = FENCE_IN_BLOCK.fullmatch(line)
            if fence and closes(block, fence[1], fence[2]):
                return number, []
            code = None if fence else code_before_fence(block, line)
            if code is not None:
                return number, [code]
        if heed_strings and (block.is_python() or not block.language):
            quote = open_string(line, quote)
            # Another one ends with its line.
            quote = quote if len(quote) == 3 else ""
    return None


def closes(block: Block, fence: str, info: str) -> bool:
    """Whether a line of a fence and `info` ends the block; prose may follow the fence."""
    if PYTHON.fullmatch(language_of(info)):
        # The block before was never closed; but a longer fence may show a block as text.
        return block.closes(fence) or not block.is_python()
    if not block.closes(fence):
        return False
    word = info.strip().lower()
    return not OTHER_LANGUAGE.fullmatch(word)


def code_before_fence(block: Block, line: str) -> str | None:
    """The code of a last line with the closing fence behind it; None for any other line."""
    # Prose may follow: print(x)``` prints the sum.
    found = BEHIND_CODE[block.fence[0]].fullmatch(line)
    if not found or not block.closes(found[2]):
        return None
    # Within a string of the program it is no fence.
    return None if open_string(found[1], "") else found[1]


def open_string(text: str, quote: str) -> str:
    """The quotes of the string that is open at the end of a line that begins within `quote`."""
    position = 0
    while True:
        if quote:
            end = text.find(quote, position)
            if end < 0:
                return quote
            position, quote = end + len(quote), ""
        token = STRING.search(text, position)
        if token is None:
            return ""
        position = token.end()
        if token[0] in ("'''", '"""'):
            quote = token[0]
        elif token[0] in ("'", '"'):
            return token[0]


def extract_program(response: str) -> str | None:
    """The last block marked as Python, else the last one without a language; None without any.

    Blocks without code are passed over: empty ones, and those of comments alone.
    """
    # Byte order marks come from files that were pasted.
    text = response.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "")
    found = blocks(text)
    for is_wanted in (lambda name: PYTHON.fullmatch(name), lambda name: not name):
        contents = [text for language, text in found if is_wanted(language) and has_code(text)]
        if contents:
            return textwrap.dedent(contents[-1]).strip("\n") + "\n"
    return None


def has_code(content: str) -> bool:
    """Whether any line is neither blank nor a comment."""
    return any(line.strip() and not line.lstrip().startswith("#") for line in content.split("\n"))

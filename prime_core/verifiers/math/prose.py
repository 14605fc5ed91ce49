r"""Sentences that end in a value: \text{The value of } x \text{ is } 10.

In: normalised LaTeX. Out: the equation or value that the sentence states, or the text as it was.
A sentence that denies the value, or takes it from another one, is left alone.
"""

import re

from prime_core.verifiers.math.tokens import CHANGED

_IS = r"(?:is equal to|are equal to|is equal|is given by|will be|must be|is|are|equals?|=|:)"
_TEXT_IS = re.compile(rf"\\text\s*\{{\s*{_IS}\s*:?\s*\}}")
# \text{The value of } x ...: what follows is a name or an expression with its value.
_LEAD = re.compile(r"\\text\s*\{([A-Za-z ,'\-]{0,200})\}\s*(?=[A-Za-z\\(\d{])")
_WHOLE = re.compile(
    r"(?:\\text\s*\{\s*(?P<inside>[^{}]{1,400})\}|(?P<bare>[A-Z][a-z]+ [^{}\\]{1,400}))"
)
# Beside the words that deny or change: the value is that of another number.
_TAKEN_FROM = re.compile(r"\babsolute\b|\bpercent\w*\s+of\b|\bfraction\b|\binverse\b")
_SENTENCE = re.compile(
    rf"(?P<lead>[A-Za-z ,'\-]*[a-z]{{2}}[A-Za-z ,'\-]*?)\s{_IS}\s+(?P<value>[-+$(\d\\].*)"
)


def without_sentence(text: str) -> str:
    """The equation or value that a sentence states."""
    whole = _WHOLE.fullmatch(text)
    if whole:
        sentence = _SENTENCE.fullmatch((whole["inside"] or whole["bare"]).strip(" ."))
        if sentence is None or _changes(sentence["lead"]):
            return text
        # Words behind the value stay words.
        return f"\\text{{{sentence['value']}}}" if whole["inside"] else sentence["value"]
    if "\\text" not in text:
        return text
    lead = _LEAD.match(text)
    if lead and _changes(lead[1]):
        return text
    stated = _TEXT_IS.sub(" = ", text)
    return stated[lead.end() :] if lead and stated != text else stated


def _changes(lead: str) -> bool:
    return bool(CHANGED.search(lead.lower()) or _TAKEN_FROM.search(lead.lower()))

"""Whether two problems are the same: equal texts, ignoring case and spaces, or n consecutive words
in common. Texts in, verdicts out.

Overlap of n words is how GPT-3's authors looked for test sets in training data (arXiv 2005.14165,
appendix C; there, too, 13 words, and word sequences that occur very often are left out).
docs/decisions.md#exact-ngrams
"""

from __future__ import annotations

import hashlib
import heapq
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

# A sequence of words that more problems of one benchmark share is its phrasing, not a problem:
# "write Python code to solve the problem, present the code in ...".
MAX_PROBLEMS_SHARING = 3

# Without $, which only marks where formulas begin and end.
_PIECES = re.compile(r"\w+|[^\w\s$]")
# Without "_", which joins what LaTeX subscripts (a_1) keep apart.
_WORDS = re.compile(r"[^\W_]+")
R = TypeVar("R")


def normalised(text: str) -> str:
    """The text's words and signs with one space between; case, spaces and $ do not count."""
    return " ".join(_PIECES.findall(_folded(text)))


def words(text: str) -> list[str]:
    """The text's words and numbers, without signs, so that LaTeX and plain text look alike."""
    return _WORDS.findall(_folded(text))


def text_key(text: str) -> int:
    """A 64-bit hash of the normalised text: equal texts, equal keys, in whatever file."""
    # Not hash(), which Python salts in each process: these keys decide what is held out. "replace":
    # JSON can escape lone surrogates, which UTF-8 cannot hold. At 64 bits a million texts collide
    # with a chance of 3e-8.
    digest = hashlib.blake2b(normalised(text).encode("utf-8", "replace"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def ngrams(sequence: list[str], size: int) -> Iterator[tuple[str, ...]]:
    """All runs of `size` words, one after another; none where there are fewer words."""
    # Shifted lists side by side: millions of tuples at C speed. docs/decisions.md#exact-ngrams
    return zip(*(sequence[start:] for start in range(size)), strict=False)


@dataclass(frozen=True)
class Match:
    """The problem that a text matches, and what they share: the words, or the whole text."""

    benchmark: str
    prompt_id: str
    shared: str


class BenchmarkTexts:
    """Problems of benchmarks, to look texts up in.

    size: consecutive words. Texts with fewer words are compared as a whole, signs included.
    benchmarks: their names.
    """

    def __init__(self, problems: Iterable[tuple[str, str, str]], size: int) -> None:
        """problems: (benchmark, prompt_id, text)."""
        self.size = size
        self._whole: dict[int, tuple[str, str]] = {}
        self._ngrams: dict[tuple[str, ...], tuple[str, str]] = {}
        sharing: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.benchmarks: list[str] = []
        seen: set[tuple[str, int]] = set()
        for benchmark, prompt_id, text in problems:
            key = text_key(text)
            if (benchmark, key) in seen:  # some benchmarks hold each problem several times
                continue
            if benchmark not in self.benchmarks:
                self.benchmarks.append(benchmark)
            seen.add((benchmark, key))
            self._whole.setdefault(key, (benchmark, prompt_id))
            # A set: a phrase that one problem repeats is not thereby shared by several.
            for ngram in set(ngrams(words(text), size)):
                self._ngrams.setdefault(ngram, (benchmark, prompt_id))
                sharing[benchmark, ngram] += 1
        for (_, ngram), count in sharing.items():
            if count > MAX_PROBLEMS_SHARING:
                # None: another benchmark's count may have removed it already.
                self._ngrams.pop(ngram, None)

    def find(self, text: str, key: int) -> Match | None:
        """The first problem that the text shares enough with, if there is one; key: text_key."""
        same = self._whole.get(key)
        if same is not None:
            return Match(*same, "the whole text")
        found = words(text)
        # Nearly all texts end here, without a loop in Python.
        if self._ngrams.keys().isdisjoint(ngrams(found, self.size)):
            return None
        first = next(ngram for ngram in ngrams(found, self.size) if ngram in self._ngrams)
        return Match(*self._ngrams[first], " ".join(first))


class HeldOut(Generic[R]):
    """Rows to hold out of a stream: those with the smallest keys, whatever the order.

    Rows of equal keys stay together: a text is held out or not. At most `num` keys are kept.
    docs/decisions.md#split-by-hash
    """

    def __init__(self, num: int) -> None:
        """num: keys to hold out."""
        self.num = num
        self._rows: dict[int, list[R]] = {}
        self._largest: list[int] = []  # a heap of negative keys

    def offer(self, key: int, row: R) -> list[R]:
        """Take one more row; returns the rows that are not held out after all."""
        if key in self._rows:
            self._rows[key].append(row)
            return []
        if self.num == 0:
            return [row]
        if len(self._largest) < self.num:
            heapq.heappush(self._largest, -key)
            self._rows[key] = [row]
            return []
        # The largest key held only ever falls, so a key that was refused or pushed out stays out,
        # and later rows of the same text with it.
        if key > -self._largest[0]:
            return [row]
        pushed_out = -heapq.heapreplace(self._largest, -key)
        self._rows[key] = [row]
        return self._rows.pop(pushed_out)

    def rows(self) -> list[R]:
        """What is held out, by ascending key."""
        return [row for key in sorted(self._rows) for row in self._rows[key]]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()

r"""Search for texts that are right without solving anything: a reward must not be had for nothing.

    python -m benchmarks.cheats [--data ../shared/data] [--quick] [--json cheats.json]
        [--no-math-verify] [--workers 2]

In: all gold answers of GSM8K, MATH-500, OlympiadBench and College Math, and the texts of
cheat_texts.py: the same for every problem, or made of a problem's own numbers, or its gold answer
with wrong numbers. Each is judged as `prime verify` judges a response. Then random pairs of gold
answers of different problems, the one as the answer to the other.

Out: for each benchmark and family the text that is right most often, with the share of problems
that it is right for, beside math-verify's (on a fixed sample of problems). What one honest guess
earns is explained: the commonest answer's share, counted by spelling and not by the verifier; for
texts of a problem's own numbers the best single number that follows from them (their sum, say).
More than that by ALLOWED is a failure, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import cheat_texts
from prime_core.data.forms import FORMS, Fields
from prime_core.runtime.console import note, progress_bar
from prime_core.settings.verification import Verification
from prime_core.verifiers.pool import Row, judge_rows
from prime_core.verifiers.verdict import Judgement, Verdict

# Of all problems: 2 and x=2 are one answer in two spellings, which the count by spelling parts.
ALLOWED = 0.005
# A pair of golds may be equal in value: at most this share of pairs beyond the same spelling.
ALLOWED_PAIRS = 0.002
# The fallback's limit is half of it (2 s): a text that nobody reads in that time earns nothing.
RULES = Verification(timeout_seconds=4.0)
SEED = 0


class Problem(NamedTuple):
    """text; gold, the answer as published; truth, what a verifier is given; key, its spelling."""

    text: str
    gold: str
    truth: str
    key: str


@dataclass
class Attempt:
    """One text, or one way to write one, on one benchmark.

    right: problems that it is right for, of `num`. answers: different golds among them, by
    spelling. explained: problems that one honest guess is right for. theirs: share by math-verify,
    None where it was not asked.
    """

    benchmark: str
    family: str
    name: str
    text: str
    num: int
    right: int = 0
    answers: int = 0
    explained: float = 0.0
    no_verdict: int = 0
    theirs: float | None = None

    @property
    def share(self) -> float:
        """Problems that it is right for, of all."""
        return self.right / self.num

    @property
    def fails(self) -> bool:
        """Whether it earns more than an honest guess does."""
        return self.right > self.explained + max(1.0, ALLOWED * self.num)


@dataclass
class Search:
    """All that was found. pairs: accepted pairs of golds in different spellings."""

    attempts: list[Attempt] = field(default_factory=list)
    pairs: list[dict[str, str]] = field(default_factory=list)
    num_pairs: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def failures(self) -> list[Attempt]:
        """Texts that earn more than a guess, the worst first."""
        return sorted((a for a in self.attempts if a.fails), key=lambda a: -a.share)

    @property
    def pairs_fail(self) -> bool:
        """Whether more pairs are accepted than can be equal in value."""
        return len(self.pairs) > max(1.0, ALLOWED_PAIRS * self.num_pairs)


def read_problems(data: Path) -> dict[str, list[Problem]]:
    """The four benchmarks' problems. Raises FileNotFoundError where the data are missing."""
    read: dict[str, list[Problem]] = {}
    for name, file, question, answer in (
        ("GSM8K", "gsm8k_test", "question", "final"),
        ("MATH-500", "math500", "problem", "answer"),
        ("OlympiadBench", "olympiadbench", "question", ""),
        ("College Math", "college_math", "question", "answer"),
    ):
        with gzip.open(data / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        read[name] = [_problem(row, question, answer) for row in rows]
    return read


def _problem(row: dict[str, Any], question: str, answer: str) -> Problem:
    if answer:
        gold = truth = row[answer]
    else:
        given = FORMS["olympiadbench"].read(Fields(row, {}))["ground_truth"]
        gold = given["answer"] if isinstance(given["answer"], str) else given["answer"][0]
        truth = json.dumps(given)
    return Problem(row[question], gold, truth, spelling(gold))


def spelling(gold: str) -> str:
    """A gold answer without what a writer may add: spaces, dollars, sizes of brackets, `x =`."""
    text = re.sub(r"\\left|\\right|\\[,;!: ]|\\displaystyle|\\\$|\$|\s", "", gold)
    text = re.sub(r"\\[dt]frac", r"\\frac", text).rstrip(".")
    text = re.sub(r"^[A-Za-z](\([A-Za-z]\))?=(?=[^=]+$)", "", text)
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)


def commonest(problems: list[Problem]) -> list[str]:
    """Gold answers, the most frequent first, each in its first spelling."""
    written = {problem.key: problem.gold.strip("$") for problem in reversed(problems)}
    return [written[key] for key, _ in Counter(p.key for p in problems).most_common()]


def judge(
    pairs: list[tuple[str, str]], workers: int | None, description: str
) -> Iterator[tuple[int, Judgement]]:
    """The judgement of each pair of response and ground truth, in any order."""
    rows = [Row("math", response, truth) for response, truth in pairs]
    with progress_bar(len(rows), "verdict", description) as bar:
        for index, judgement in judge_rows(rows, RULES, num_workers=workers):
            bar.update()
            yield index, judgement


class Golds:
    """Different ground truths of a benchmark, in the order in which a text meets them.

    looks: a few of the commonest and a few drawn, then more of both, then all others. A text goes
    on to the second look if it was right before or if the verifier reads it by itself, and to the
    third if it was right. skipped: problems whose gold math-verify alone reads (50 ms a verdict).
    """

    def __init__(self, problems: list[Problem], sizes: tuple[int, int], everything: bool) -> None:
        self.problems: dict[str, list[Problem]] = defaultdict(list)
        for problem in problems:
            self.problems[problem.truth].append(problem)
        truths = sorted(self.problems, key=lambda truth: -len(self.problems[truth]))
        unread: set[str] = set()
        if not everything:
            probe = [(cheat_texts.boxed("7"), truth) for truth in truths]
            unread = {truths[i] for i, found in judge(probe, 1, "golds") if asked(found)}
        self.skipped = sum(len(self.problems[truth]) for truth in unread)
        truths = [truth for truth in truths if truth not in unread]
        self.looks = [truths] if everything else []
        for size in () if everything else sizes:
            top, rest = truths[: size // 2], truths[size // 2 :]
            drawn = random.Random(SEED).sample(rest, min(len(rest), size - len(top)))
            self.looks.append(top + drawn)
            truths = [truth for truth in truths if truth not in {*top, *drawn}]
        self.looks += [] if everything else [truths]


def asked(judgement: Judgement) -> bool:
    """Whether math-verify was asked, since our own reader left the pair open."""
    return "math-verify" in judgement.detail or judgement.verdict is Verdict.timeout


def fixed_attempts(name: str, problems: list[Problem], num: int) -> list[Attempt]:
    """Every text that is the same for all problems; what one answer explains, by spelling."""
    guess = max(Counter(problem.key for problem in problems).values())
    top = commonest(problems)
    texts = cheat_texts.fixed_texts(top)
    texts["one answer"] = {gold: cheat_texts.boxed(gold) for gold in top[:10]}
    return [
        Attempt(name, family, title, text, num, explained=guess)
        for family, some in texts.items()
        for title, text in some.items()
    ]


def try_fixed(name: str, problems: list[Problem], options: argparse.Namespace) -> list[Attempt]:
    """Every fixed text on a benchmark, as far as the looks at its golds go."""
    golds = Golds(problems, (8, 30) if options.quick else (8, 120), options.all)
    attempts = fixed_attempts(name, problems, len(problems) - golds.skipped)
    keys: list[set[str]] = [set() for _ in attempts]
    slow: Counter[int] = Counter()
    for number, look in enumerate(golds.looks):
        tried = [
            place
            for place, attempt in enumerate(attempts)
            if number == 0 or attempt.right or (number == 1 and slow[place] <= 2)
        ]
        todo = [(place, truth) for place in tried for truth in look]
        pairs = [(attempts[place].text, truth) for place, truth in todo]
        for index, judgement in judge(pairs, options.workers, f"{name}, {len(tried)} texts"):
            place, truth = todo[index]
            slow[place] += asked(judgement)
            attempts[place].no_verdict += judgement.verdict is Verdict.no_verdict
            if judgement.verdict is Verdict.correct:
                attempts[place].right += len(golds.problems[truth])
                keys[place] |= {problem.key for problem in golds.problems[truth]}
    for attempt, found in zip(attempts, keys, strict=True):
        attempt.answers = len(found)
    return attempts


def try_own(name: str, problems: list[Problem], options: argparse.Namespace) -> list[Attempt]:
    """Texts that differ by problem: of its own numbers, and its gold with wrong numbers."""
    todo: list[tuple[str, str, int]] = []
    texts: list[str] = []
    for place, problem in enumerate(problems):
        for family, made in (
            ("one own number", cheat_texts.single_guesses(problem.text)),
            ("own numbers", cheat_texts.own_texts(problem.text)),
            ("gold, changed", cheat_texts.changed_golds(problem.gold)),
        ):
            todo += [(family, title, place) for title in made]
            texts += made.values()
    pairs = [(text, problems[place].truth) for text, (*_, place) in zip(texts, todo, strict=True)]
    attempts: dict[tuple[str, str], Attempt] = {}
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (family, title, _), text in zip(todo, texts, strict=True):
        attempts.setdefault((family, title), Attempt(name, family, title, text, len(problems)))
    for index, judgement in judge(pairs, options.workers, f"{name}, own numbers"):
        family, title, place = todo[index]
        attempts[family, title].no_verdict += judgement.verdict is Verdict.no_verdict
        if judgement.verdict is Verdict.correct:
            # Of texts that differ by problem, one that is right is shown.
            if not attempts[family, title].right:
                attempts[family, title].text = pairs[index][0]
            attempts[family, title].right += 1
            keys[family, title].add(problems[place].key)
    guesses = [a.right for (family, _), a in attempts.items() if family == "one own number"]
    for key, attempt in attempts.items():
        attempt.answers = len(keys[key])
        attempt.explained = 0.0 if attempt.family == "gold, changed" else float(max(guesses))
    return list(attempts.values())


def try_pairs(
    problems: list[Problem], num: int, workers: int | None
) -> tuple[int, list[dict[str, str]]]:
    """Random golds as answers to other problems: how many pairs, and those that are accepted."""
    rng = random.Random(SEED)
    drawn = [rng.sample(problems, 2) for _ in range(num)]
    drawn = [pair for pair in drawn if pair[0].key != pair[1].key]
    pairs = [(cheat_texts.boxed(one.gold.strip("$")), other.truth) for one, other in drawn]
    found = [
        {"answer": drawn[index][0].gold, "gold": drawn[index][1].gold}
        for index, judgement in judge(pairs, workers, "pairs of golds")
        if judgement.verdict is Verdict.correct
    ]
    return len(pairs), sorted(found, key=lambda pair: (pair["gold"], pair["answer"]))


def search(data: Path, options: argparse.Namespace) -> Search:
    """The whole search; notes on standard error say how long each part took."""
    found = Search()
    everything = read_problems(data)
    if options.quick:
        everything = {n: random.Random(SEED).sample(p, 60) for n, p in everything.items()}
    for name, problems in everything.items():
        start = time.perf_counter()
        attempts = try_fixed(name, problems, options)
        attempts += try_own(name, problems, options)
        found.attempts += attempts
        found.seconds[name] = time.perf_counter() - start
        note(f"{name}: {len(attempts)} texts in {found.seconds[name]:.0f} s")
    start = time.perf_counter()
    all_problems = [problem for problems in everything.values() for problem in problems]
    num = options.pairs // 10 if options.quick else options.pairs
    found.num_pairs, found.pairs = try_pairs(all_problems, num, options.workers)
    found.seconds["pairs"] = time.perf_counter() - start
    if not options.no_math_verify:
        from benchmarks import cheats_math_verify

        start = time.perf_counter()
        sample = 20 if options.quick else options.sample
        cheats_math_verify.judge_beside(found.attempts, everything, sample, options.workers)
        found.seconds["math-verify"] = time.perf_counter() - start
    return found


def table(found: Search) -> list[str]:
    """The best text of each family on each benchmark, ours and math-verify's, in Markdown."""
    lines = [
        "| benchmark | family | texts | best text | right % | answers | explained % "
        "| math-verify % | its best % |",
        "|---|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    groups: dict[tuple[str, str], list[Attempt]] = defaultdict(list)
    for attempt in found.attempts:
        groups[attempt.benchmark, attempt.family].append(attempt)
    for (benchmark, family), group in groups.items():
        best = max(group, key=lambda a: (a.fails, a.right))
        theirs = [a.theirs for a in group if a.theirs is not None]
        mark = "**" if best.fails else ""
        cells = [
            benchmark, family, str(len(group)), best.name.replace("|", "\\|").replace("\n", " "),
            f"{mark}{100 * best.share:.1f}{mark}", str(best.answers),
            f"{100 * best.explained / best.num:.1f}",
            "–" if best.theirs is None else f"{100 * best.theirs:.1f}",
            f"{100 * max(theirs):.1f}" if theirs else "–",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def report(found: Search, shown: int) -> list[str]:
    """The table, what fails, and the accepted pairs."""
    lines = table(found)
    failures = found.failures
    lines += ["", f"{len(failures)} of {len(found.attempts)} texts earn more than a guess does:"]
    for attempt in failures[:shown]:
        lines.append(
            f"  {100 * attempt.share:5.1f} % of {attempt.benchmark}, {attempt.answers} answers: "
            f"{attempt.family}, {attempt.name}: {attempt.text[:90]!r}"
        )
    lines.append(f"{len(found.pairs)} of {found.num_pairs} pairs of different golds are accepted:")
    lines += [f"  {pair['answer']!r} for {pair['gold']!r}" for pair in found.pairs[: 2 * shown]]
    no_verdict = sum(attempt.no_verdict for attempt in found.attempts)
    lines.append(f"{no_verdict} judgements without a verdict")
    lines.append(", ".join(f"{name} {value:.0f} s" for name, value in found.seconds.items()))
    return lines


def main() -> int:
    """Print the table; 1 when a text earns more than the golds' distribution explains."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--quick", action="store_true", help="60 problems of each benchmark")
    parser.add_argument("--all", action="store_true", help="every text on every gold: hours")
    parser.add_argument("--pairs", type=int, default=30_000, help="random pairs of golds")
    parser.add_argument("--sample", type=int, default=50, help="problems for math-verify")
    parser.add_argument("--no-math-verify", action="store_true")
    parser.add_argument("--workers", type=int, help="processes; all cores of the job")
    parser.add_argument("--shown", type=int, default=20, help="failures that are listed")
    parser.add_argument("--json", type=Path, help="also write every text's figures here")
    options = parser.parse_args()
    if not options.data.is_dir():
        parser.error(f"no folder {options.data}: place the shared data there, or use --data")
    found = search(options.data, options)
    print("\n".join(report(found, options.shown)))
    if options.json:
        attempts = [asdict(a) | {"share": a.share, "fails": a.fails} for a in found.attempts]
        content = {**asdict(found), "attempts": attempts}
        options.json.write_text(json.dumps(content, ensure_ascii=False, indent=1), "utf-8")
    return int(bool(found.failures) or found.pairs_fail)


if __name__ == "__main__":
    sys.exit(main())

"""Which training problems are left out: duplicates, and problems of benchmarks."""

from __future__ import annotations

from prime_core.data.problems import Dropped, Problem
from prime_core.data.text_matching import BenchmarkTexts, text_key


class Screen:
    """Screens training problems, one after the other."""

    def __init__(self, deduplicate: bool, benchmarks: BenchmarkTexts | None) -> None:
        """benchmarks: None: problems are not compared with any."""
        self.deduplicate, self.benchmarks = deduplicate, benchmarks
        self._first: dict[int, tuple[str, str]] = {}

    def look(self, problem: Problem) -> tuple[int, Dropped | None]:
        """The key of the problem's text, and why it is left out; None: it is not."""
        key = text_key(problem.text)
        name, answer = problem.row["prompt_id"], problem.row["ground_truth"]
        if self.deduplicate:
            first, known_answer = self._first.setdefault(key, (name, answer))
            # prompt_ids are unique (stream_problems), so another id is another row.
            if first != name:
                other = "" if answer == known_answer else ", with another ground truth"
                return key, problem.dropped("duplicate", f"{first}{other}")
        found = self.benchmarks.find(problem.text, key) if self.benchmarks else None
        if found is None:
            return key, None
        detail = f"{found.benchmark}/{found.prompt_id}: {found.shared}"
        return key, problem.dropped("in_benchmark", detail)

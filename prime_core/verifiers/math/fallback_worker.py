"""The process that fallback.py starts: answers, one JSON line a question, with math-verify.

sympy's parse_expr evaluates what it reads. math-verify uses it for plain expressions only; those
are not asked for here, and the function is taken away besides.
"""

import contextlib
import json
import resource
import sys
from typing import Any

from prime_core.runtime.helper_process import die_with_parent

# Big numbers shall raise MemoryError here before the kernel picks some process to kill.
_MEMORY_BYTES = 3 << 30


def _refuse(*_: Any, **__: Any) -> Any:
    raise ValueError("evaluation of text is not allowed")


def main() -> None:
    """Serve until standard input ends."""
    # ValueError: a lower limit is in force already. Some systems refuse RLIMIT_AS.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    die_with_parent()
    from math_verify import LatexExtractionConfig, parse, parser, verify

    # In math-verify's own module: it imported the function by name.
    parser.parse_expr = _refuse
    # 0: a box comes first. By default phrases such as 'final answer is' would.
    config = [LatexExtractionConfig(boxed_match_priority=0)]
    print("ready", flush=True)
    for line in sys.stdin:
        answer, gold = json.loads(line)
        print(_verdict(parse, verify, config, answer, gold), flush=True)


def _verdict(parse: Any, verify: Any, config: list[Any], answer: str, gold: str) -> str:
    try:
        trees = [
            parse(
                f"\\boxed{{{text}}}",
                extraction_config=config,
                # By default what cannot be parsed is returned as text, and compared as such.
                fallback_mode="no_fallback",
                # Its own limits are SIGALRM, which C code ignores; fallback.py kills instead.
                parsing_timeout=None,
            )
            # The gold first: verify() is not symmetric.
            for text in (gold, answer)
        ]
        if not all(trees):
            return "unread"
        return str(bool(verify(*trees, timeout_seconds=None))).lower()
    except MemoryError:
        # Not 'unread': a fresh process may have the memory, and fallback.py asks one once.
        sys.exit(1)
    except Exception:  # whatever sympy raises on such input: it did not read it
        return "unread"


if __name__ == "__main__":
    main()

"""The process that fallback.py starts: answers, one JSON line a question, with math-verify.

sympy's parse_expr evaluates what it reads. math-verify uses it for plain expressions only; those
are not asked for here, and the function is taken away besides.
"""

import contextlib
import json
import resource
import sys
from typing import Any

_MEMORY_BYTES = 3 << 30


def _refuse(*_: Any, **__: Any) -> Any:
    raise ValueError("evaluation of text is not allowed")


def main() -> None:
    """Serve until standard input ends."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    _die_with_parent()
    from math_verify import LatexExtractionConfig, parse, parser, verify

    parser.parse_expr = _refuse
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
                fallback_mode="no_fallback",
                parsing_timeout=None,
            )
            for text in (gold, answer)
        ]
        if not all(trees):
            return "unread"
        return str(bool(verify(*trees, timeout_seconds=None))).lower()
    except MemoryError:
        sys.exit(1)
    except Exception:  # whatever sympy raises on such input: it did not read it
        return "unread"


def _die_with_parent() -> None:
    """On Linux, end when the process that asks is killed."""
    import ctypes
    import signal

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    main()

"""What programs are judged on: the forms of tests in public data sets, read into three kinds.

Standard input and output
    {"inputs": ["3\\n1 2 3\\n"], "outputs": ["6\\n"]}             APPS, TACO, CodeContests, PRIME
    [{"input": {"stdin": ...}, "output": {"stdout": ...}}]        SandboxFusion
    [{"input": "...", "output": "...", "testtype": "stdin"}]      LiveCodeBench
    base64 of zlib of {"input_output": "<JSON of the first form>"}   LiveCodeBench, packed
    {"public_test_cases", "private_test_cases", "fn_name"}   LiveCodeBench: both lists as text, the
        private ones packed; fn_name (null: standard input) is the function of all of them
Calls of one function, or of a method of class Solution
    {"fn_name": "total", "inputs": [...], "outputs": [...]}
    An input is the list of arguments, or text with one JSON argument a line; an output is the
    value, its JSON text, or the value in a list of its own (where all outputs are lists of one).
    "adapter": source behind the program, for a function that takes other than plain values.
Assertions
    {"test": "def check(candidate): ...", "entry_point": "total", "prompt": "..."}   HumanEval
    {"test_list": ["assert ..."], "test_imports": [...], "test_setup_code": "..."}   MBPP
    {"entry_point", "canonical_solution", "base_input", "plus_input", "atol"}        MBPP+
        "oracle" says what counts as equal; unless stated, EvalPlus's rule for the task does
Any of them may be given as JSON text, and may carry "tolerance"; inputs and outputs also "checker",
the source of a special judge (checking.py); calls also "decimals", the most digits behind the point
that expected values were printed with. A function is named as inside/entries.py reads it.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

from .compare import TEXT_TOLERANCE, VALUE_TOLERANCE, printed_digits, same_value
from .inside.entries import parse_entry
from .inside.oracles import ORACLES
from .packed import check_row, read_json, unpack

# EvalPlus v0.3.1, by data set and entry point. docs/decisions.md#evalplus-oracles
EVALPLUS_ORACLES = {
    "mbpp": {
        **dict.fromkeys(("similar_elements", "find_char_long", "common_in_nested_lists"), "set"),
        **dict.fromkeys(("extract_singly", "larg_nnum", "intersection_array"), "set"),
        **dict.fromkeys(("find_dissimilar", "Diff"), "set"),
        **dict.fromkeys(("check_str", "text_match_three", "text_starta_endb"), "found"),
        "surface_Area": "pyramid",
        "digit_distance_nums": "digit_distance",
        "sum_div": "divisor_sum",
        "are_equivalent": "equal_divisor_sums",
    },
    "humaneval": {"find_zero": "root"},
}
PRINTED_DECIMALS = 5  # of LeetCode's expected values, which accepts answers within 1e-5


@dataclass(frozen=True)
class StdinTests:
    """The program reads inputs[i] and prints outputs[i]."""

    inputs: list[str]
    outputs: list[str]
    tolerance: float = TEXT_TOLERANCE
    checker: str = ""

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class CallTests:
    """fn_name(*arguments[i]) returns one of outputs[i]; adapter: source behind the program.

    decimals[i]: how many digits the decimals of outputs[i] were printed with at most (None: all).
    """

    fn_name: str
    arguments: list[list[Any]]
    outputs: list[list[Any]]
    tolerance: float = VALUE_TOLERANCE
    decimals: tuple[int | None, ...] = ()
    adapter: str = ""
    checker: str = ""

    def __len__(self) -> int:
        return len(self.arguments)

    def same(self, value: Any, expected: Any, number: int) -> bool:
        """Whether test `number` may return this value where that one is expected."""
        decimals = self.decimals[number] if self.decimals else None
        return same_value(value, expected, self.tolerance, decimals)


@dataclass(frozen=True)
class AssertTests:
    """Trusted source that calls the program; or a reference solution and inputs to compare on."""

    prompt: str = ""
    setup: str = ""
    tests: tuple[str, ...] = ()
    entry_point: str = ""
    reference: str = ""
    inputs: tuple[list[Any], ...] = ()
    tolerance: float = 0.0
    oracle: str = "equal"

    def __len__(self) -> int:
        return len(self.inputs) if self.reference else len(self.tests)

    def only(self, number: int) -> "AssertTests":
        """One of the tests by itself."""
        if self.reference:
            return replace(self, inputs=self.inputs[number : number + 1])
        return replace(self, tests=self.tests[number : number + 1])

    def is_like_leetcode(self) -> bool:
        """Whether the program is a class, for which LeetCode imports what solutions use."""
        source = "" if self.entry_point else "\n".join(self.tests)
        named = self.entry_point and parse_entry(self.entry_point).class_name
        return bool(named) or "Solution" in source


Tests = StdinTests | CallTests | AssertTests


def parse_tests(tests: Any, prompt: str = "") -> Tests:
    """Tests in any of the forms above. ValueError for any other form.

    `prompt` is the code that a completion continues, where the tests do not carry it.
    """
    if isinstance(tests, str):
        tests = unpack(tests)
    if isinstance(tests, list):
        tests = from_cases(tests)
    if not isinstance(tests, dict):
        raise ValueError(f"tests must be an object or a list, not {type(tests).__name__}")
    tests = check_row(tests)
    stated = {key: tests[key] for key in ("checker", "tolerance", "decimals") if tests.get(key)}
    if "input_output" in tests:
        packed = tests["input_output"]
        packed = unpack(packed) if isinstance(packed, str) else packed
        packed = from_cases(packed) if isinstance(packed, list) else packed
        return parse_tests({**packed, **stated} if isinstance(packed, dict) else packed, prompt)
    if "private_test_cases" in tests:
        return parse_tests(from_livecodebench(tests) | stated, prompt)
    prompt = tests.get("prompt") or prompt
    # First: these rows have an `assertion` as well, of few inputs.
    if "canonical_solution" in tests and ("base_input" in tests or "plus_input" in tests):
        return from_evalplus(tests)
    if "inputs" in tests and ("outputs" in tests or "checker" in tests):
        return from_pairs(tests)
    if "checker" in tests:
        raise ValueError("a checker needs inputs and outputs")
    if "test_list" in tests or "test" in tests or "assertion" in tests:
        return from_assertions(tests, prompt)
    raise ValueError(f"tests of no known form: their keys are {sorted(tests)}")


def from_livecodebench(tests: dict[str, Any]) -> dict[str, Any]:
    """Public and private cases, each a text, as one object of lists."""
    cases = [*unpack(tests["public_test_cases"]), *unpack(tests["private_test_cases"])]
    name = tests.get("fn_name")
    return from_cases([case | {"fn_name": name} for case in cases])


def from_cases(cases: list[Any]) -> dict[str, Any]:
    """A list of cases as one object of lists."""
    if not all(isinstance(case, dict) and "input" in case and "output" in case for case in cases):
        raise ValueError("a list of tests must consist of objects with `input` and `output`")
    names = {case.get("fn_name") or case.get("func_name") for case in cases}
    functional = any(case.get("testtype") == "functional" for case in cases)
    if len(names) > 1 or (functional and None in names):
        raise ValueError("functional tests need one fn_name")
    return {
        "inputs": [inner(case["input"], "stdin") for case in cases],
        "outputs": [inner(case["output"], "stdout") for case in cases],
        "fn_name": names.pop() if names else None,
    }


def inner(value: Any, key: str) -> Any:
    """value[key] where the value is wrapped so, else the value."""
    return value[key] if isinstance(value, dict) and key in value else value


def from_pairs(tests: dict[str, Any]) -> Tests:
    """Inputs and outputs: of a function when one is named, else of the whole program."""
    inputs, checker = tests["inputs"], checker_of(tests)
    # With a checker there may be no output to compare with.
    outputs = tests.get("outputs") or ([""] * len(inputs) if checker else [])
    if len(inputs) != len(outputs):
        raise ValueError(f"{len(inputs)} inputs but {len(outputs)} outputs")
    name = tests.get("fn_name")
    if not name:
        tolerance = float(tests.get("tolerance", TEXT_TOLERANCE))
        texts = [as_text(x) for x in inputs], [as_text(x) for x in outputs]
        return StdinTests(*texts, tolerance, checker)
    parse_entry(name)
    arguments = [arguments_of(value) for value in inputs]
    values = [
        value_of(output) if isinstance(given, str) else output
        for given, output in zip(inputs, outputs, strict=True)
    ]
    wrapped = not any(isinstance(value, str) for value in inputs) and all(
        isinstance(value, list) and len(value) == 1 for value in values
    )
    # APPS wraps returned values in a list, other sets do not, and nothing says which: as in its own
    # harness, both readings are right.
    accepted = [[value, value[0]] if wrapped else [value] for value in values]
    return CallTests(
        name,
        arguments,
        accepted,
        float(tests.get("tolerance", VALUE_TOLERANCE)),
        () if "tolerance" in tests else decimals_of(tests, name, outputs),
        tests.get("adapter") or "",
        checker,
    )


def checker_of(tests: dict[str, Any]) -> str:
    """The source of the row's special judge; "" where it has none."""
    checker = tests.get("checker") or ""
    if not isinstance(checker, str):
        raise ValueError(f"a checker is source text, not {checker!r:.100}")
    return checker


def decimals_of(tests: dict[str, Any], name: str, outputs: list[Any]) -> tuple[int | None, ...]:
    """To how many digits each output of a function was printed at most (None: all).

    LeetCode prints five, and LiveCodeBench's functional tests, texts, come from there. () where
    nothing was rounded.
    """
    stated = tests.get("decimals")
    if stated is not None and (type(stated) is not int or stated < 0):
        raise ValueError(f"decimals are a whole number, not {stated!r:.100}")
    if stated is not None:
        return (stated,) * len(outputs)
    found: list[int | None] = []
    for given, output in zip(tests["inputs"], outputs, strict=True):
        if isinstance(given, str) and isinstance(output, str):
            # 0.3333333 was not rounded to five.
            rounded = 0 < printed_digits(output) <= PRINTED_DECIMALS
        else:
            rounded = bool(parse_entry(name).class_name)
        found.append(PRINTED_DECIMALS if rounded else None)
    return tuple(found) if any(found) else ()


def as_text(value: Any) -> str:
    """Standard input or output: text, or a list of lines."""
    if isinstance(value, list):
        return "\n".join(str(line) for line in value) + "\n"
    if not isinstance(value, str):
        raise ValueError(f"standard input and output are text, not {value!r:.100}")
    return value


def value_of(output: Any) -> Any:
    """The value that JSON text stands for; text that is no JSON stands for itself."""
    try:
        return read_json(output) if isinstance(output, str) else output
    except json.JSONDecodeError:
        return output


def arguments_of(value: Any) -> list[Any]:
    """The arguments of one call."""
    if isinstance(value, str):
        return [read_json(line) for line in value.split("\n") if line.strip()]
    if not isinstance(value, list):
        raise ValueError(f"the arguments of a call are a list, not {value!r:.100}")
    return value


def from_assertions(tests: dict[str, Any], prompt: str) -> AssertTests:
    """HumanEval's `test`, MBPP's `test_list`, or `assertion`."""
    parts = tests.get("test_list") or [tests.get("test") or tests.get("assertion") or ""]
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("assertions are source text")
    entry_point = tests.get("entry_point") or ""
    if entry_point:
        parse_entry(entry_point)
    setup = [*tests.get("test_imports", []), tests.get("test_setup_code") or ""]
    return AssertTests(
        prompt=prompt,
        setup="\n".join(setup).replace("\r", ""),
        tests=tuple(part.replace("\r", "") for part in parts if part.strip()),
        entry_point=entry_point,
    )


def from_evalplus(tests: dict[str, Any]) -> AssertTests:
    """A reference solution and inputs; as in evalplus, the reference may continue the prompt."""
    inputs = (*(tests.get("base_input") or ()), *(tests.get("plus_input") or ()))
    if not all(isinstance(arguments, list) for arguments in inputs):
        raise ValueError("each input must be a list of arguments")
    prompt, entry_point = tests.get("prompt") or "", tests["entry_point"]
    parse_entry(entry_point)
    data_set = str(tests.get("task_id") or "").partition("/")[0].lower()
    rules = [EVALPLUS_ORACLES.get(data_set, {})] if data_set else EVALPLUS_ORACLES.values()
    usual = next((rule[entry_point] for rule in rules if entry_point in rule), "equal")
    oracle = tests.get("oracle") or usual
    if oracle not in ORACLES:
        raise ValueError(f"no oracle is named {oracle!r:.100}; known: {', '.join(ORACLES)}")
    return AssertTests(
        prompt=prompt,
        entry_point=entry_point,
        oracle=oracle,
        reference=prompt + "\n" + tests["canonical_solution"],
        inputs=inputs,
        tolerance=float(tests.get("atol") or 0),
    )

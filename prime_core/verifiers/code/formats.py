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
Any of them may be given as JSON text, and may carry "tolerance".
"""

import json
from dataclasses import dataclass
from typing import Any

from .compare import TEXT_TOLERANCE, VALUE_TOLERANCE
from .packed import check_row, read_json, unpack


@dataclass(frozen=True)
class StdinTests:
    """The program reads inputs[i] and prints outputs[i]."""

    inputs: list[str]
    outputs: list[str]
    tolerance: float = TEXT_TOLERANCE

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class CallTests:
    """fn_name(*arguments[i]) returns one of outputs[i]; adapter: source behind the program."""

    fn_name: str
    arguments: list[list[Any]]
    outputs: list[list[Any]]
    tolerance: float = VALUE_TOLERANCE
    adapter: str = ""

    def __len__(self) -> int:
        return len(self.arguments)


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

    def __len__(self) -> int:
        return len(self.inputs) if self.reference else len(self.tests)


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
    if "input_output" in tests:
        return parse_tests(tests["input_output"], prompt)
    if "private_test_cases" in tests:
        return parse_tests(from_livecodebench(tests), prompt)
    prompt = tests.get("prompt") or prompt
    # First: these rows have an `assertion` as well, of few inputs.
    if "canonical_solution" in tests and ("base_input" in tests or "plus_input" in tests):
        return from_evalplus(tests)
    if "inputs" in tests and "outputs" in tests:
        return from_pairs(tests)
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
    inputs, outputs = tests["inputs"], tests["outputs"]
    if len(inputs) != len(outputs):
        raise ValueError(f"{len(inputs)} inputs but {len(outputs)} outputs")
    name = tests.get("fn_name")
    if not name:
        tolerance = float(tests.get("tolerance", TEXT_TOLERANCE))
        return StdinTests([as_text(x) for x in inputs], [as_text(x) for x in outputs], tolerance)
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
    tolerance = float(tests.get("tolerance", VALUE_TOLERANCE))
    return CallTests(name, arguments, accepted, tolerance, tests.get("adapter") or "")


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
    setup = [*tests.get("test_imports", []), tests.get("test_setup_code") or ""]
    return AssertTests(
        prompt=prompt,
        setup="\n".join(setup).replace("\r", ""),
        tests=tuple(part.replace("\r", "") for part in parts if part.strip()),
        entry_point=tests.get("entry_point") or "",
    )


def from_evalplus(tests: dict[str, Any]) -> AssertTests:
    """A reference solution and inputs; as in evalplus, the reference may continue the prompt."""
    inputs = (*(tests.get("base_input") or ()), *(tests.get("plus_input") or ()))
    if not all(isinstance(arguments, list) for arguments in inputs):
        raise ValueError("each input must be a list of arguments")
    prompt = tests.get("prompt") or ""
    return AssertTests(
        prompt=prompt,
        entry_point=tests["entry_point"],
        reference=prompt + "\n" + tests["canonical_solution"],
        inputs=inputs,
        tolerance=float(tests.get("atol") or 0),
    )

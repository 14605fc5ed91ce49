"""Extraction, forms of tests and comparison: the parts of the code verifier that run nothing."""

import base64
import json
import pickle
import time
import zlib

import pytest

from prime_core.verifiers.code.compare import same_output, same_value
from prime_core.verifiers.code.extract import extract_program
from prime_core.verifiers.code.formats import AssertTests, CallTests, StdinTests, parse_tests
from prime_core.verifiers.code.inside import codec
from tests.support.shared_data import read_jsonl


@pytest.mark.parametrize(
    ("response", "program"),
    [
        ("```python\nprint(1)\n```", "print(1)\n"),
        ("first ```python\nprint(1)\n``` and\n```python\nprint(2)\n```\ndone", "print(2)\n"),
        ("```python\nprint(1)\n```\noutput:\n```\n1\n```", "print(1)\n"),
        ("```python\nprint(1)\n```\n```bash\nls\n```", "print(1)\n"),
        ("```\nprint(1)\n```", "print(1)\n"),
        ("```py\r\nprint(1)\r\n```\r\n", "print(1)\n"),
        ("1. so:\n   ```python\n   if 1:\n       print(1)\n   ```", "if 1:\n    print(1)\n"),
        ("~~~python\nprint('```')\n~~~", "print('```')\n"),
        ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''\n"),
        ("```python\nprint(1)\n", "print(1)\n"),
        ("```python\nabandoned\n```python\nprint(1)\n```", "print(1)\n"),
        ("no code, only `print(1)`", None),
        ("```cpp\nint main() {}\n```", None),
        ("```python\n```", None),
        ("Here is it: ```python\nprint(1)\n```", "print(1)\n"),
        ("Here is it: ```\nprint(1)\n```", "print(1)\n"),
        ("Here is it: ~~~Python3\nprint(1)\n~~~", "print(1)\n"),
        ("```python\nprint('it\\'s')```", "print('it\\'s')\n"),
        ("```python\nprint(1)``` prints it.\n```\n1\n```", "print(1)\n"),
        ("~~~py\nprint(1)~~~", "print(1)\n"),
        ("```python\nprint(1)\n```That's all.", "print(1)\n"),
        ("```python\nprint(1)\n``` prints ```1```.", "print(1)\n"),
        ("```python\nprint(1)\n```<|im_end|>", "print(1)\n"),
        ("```python\nprint(1)\n        ```\nOutput:\n```\n1\n```", "print(1)\n"),
        ("```python\nprint(1)\n```\n```python\n\n```", "print(1)\n"),
        ("```python\nprint(1)\n```python\n", "print(1)\n"),
        ("```\nprint(1)\n```\n```\n```", "print(1)\n"),
        ("```PYTHON3.11\nprint(1)\n```", "print(1)\n"),
        ('```python title="a.py" hl_lines="1"\nprint(1)\n```', "print(1)\n"),
        ("```{.python .numberLines}\nprint(1)\n```", "print(1)\n"),
        ("```python:main.py\r\nprint(1)\r\n```", "print(1)\n"),
        ("```python n = int(input())\nprint(n)\n```", "n = int(input())\nprint(n)\n"),
        ("In one line: ```python print(1)```.", "print(1)\n"),
        ("````markdown\n```python\nprint(1)\n```\n````", "print(1)\n"),
        ("```python\ns = '```'\nt = 'a```python'\n```", "s = '```'\nt = 'a```python'\n"),
        (
            '```python\n"""\n```python\nf()\n```\n"""\nx = 1\n```',
            '"""\n```python\nf()\n```\n"""\nx = 1\n',
        ),
        ('```python\n"""draft\n```\n```python\nprint(1)\n```', "print(1)\n"),
        ("```python\nprint(1)\n```\n```python\n# python a.py\n  # so\n```", "print(1)\n"),
        ("```python\n# nothing\n```", None),
        ("```python\n\ufeffprint(1)\n```", "print(1)\n"),
    ],
)
def test_the_program_is_the_last_python_block(response: str, program: str | None) -> None:
    assert extract_program(response) == program


@pytest.mark.parametrize(
    "unit", ["~", "`", "```python\n'''\n", "``` ", "```python x = ", "a```\n", '"\\', "~~~ "]
)
def test_any_text_is_searched_in_linear_time(unit: str) -> None:
    started = time.thread_time()
    for text in (unit * 100_000, "```python\n" + unit * 100_000 + "`", "```" + " " * 99_999 + "`"):
        extract_program(text)
    assert time.thread_time() - started < 30  # under 1 s; quadratic time would be minutes


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("6\n", "6", True),
        ("6  \r\n\n\n", "6\n", True),
        ("1   2\n", "1 2\n", True),
        ("1 2", "1\n2", False),
        ("6\n7\n", "6\n", False),
        ("\n6", "6", False),
        ("", "6", False),
        ("", "", True),
        ("6.0", "6", False),
        ("6", "6.0", True),
        ("6", "06", False),
        ("3.1622776601683795", "3.1622776589", True),
        ("0.6667", "0.67", False),
        ("1e5", "100000.0", True),
        ("nan", "nan", True),
        ("nan", "1.5", False),
        ("inf", "1e999", False),
        ("١.5", "1.5", False),
        ("Yes", "YES", False),
        ("1_0.5", "10.5", False),
        ("é", "é", True),
        ("-0.0", "0.0", True),
    ],
)
def test_printed_output_is_compared_word_by_word(printed: str, expected: str, same: bool) -> None:
    assert same_output(printed, expected) is same


@pytest.mark.parametrize(
    ("got", "expected", "same"),
    [
        (6, 6, True),
        (True, 1, False),
        (1, True, False),
        (6.0, 6, False),
        (6, 6.0, True),
        (True, 1.0, False),
        ("6", 6, False),
        (0.1 + 0.2, 0.3, True),
        (0.3001, 0.3, False),
        (float("nan"), 6, False),
        (float("nan"), float("nan"), True),
        (10**400, 1.5, False),
        ((1, [2, 3]), [1, [2, 3]], True),
        ([1, 2], [1, 2, 3], False),
        ({1, 2}, [1, 2], False),
        ({1: "a"}, {"1": "a"}, True),
        ({1: "a", "1": "b"}, {"1": "a"}, False),
        ({(1,): "a"}, {"1": "a"}, False),
        (None, None, True),
        (None, False, False),
        ([], [], True),
        (range(3), [0, 1, 2], False),
        (codec.Opaque("A", True), 6, False),
    ],
)
def test_returned_values_are_compared_with_their_types(
    got: object, expected: object, same: bool
) -> None:
    assert same_value(got, expected) is same


class EqualToAll(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -5, 10**30, 1.5, float("inf"), "text\ud800", b"\x00\xff", bytearray(b"a"),
        [1, [2, "x"]], (1, (2,)), {1, 2}, frozenset({"a"}), {1: (2, 3), "tuple": [4]},
        {"dict": 1}, complex(1, -2), range(1, 9, 2), int, ValueError,
    ],
)  # fmt: skip
def test_values_cross_as_json_and_come_back_equal(value: object) -> None:
    line = codec.dumps({"value": codec.encode(value)})
    back = codec.decode(codec.loads(line)["value"])
    assert back == value
    assert type(back) is type(value)


def test_subclasses_arrive_as_what_they_are_built_on() -> None:
    back = codec.decode(codec.encode([EqualToAll(3)]))
    assert type(back[0]) is int
    assert back == [3]


def test_what_cannot_cross_equals_nothing() -> None:
    back = codec.decode(codec.encode(object()))
    assert bool(back)
    assert back != codec.decode(codec.encode(object()))


@pytest.mark.parametrize(
    "line", [b"{", b"[1]", b'{"value": {"unknown": 1}}', b'{"value": {}}', b'{"value": {"int": 3}}']
)
def test_nonsense_is_no_value(line: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        codec.decode(codec.loads(line)["value"])


def test_every_form_of_tests_is_read() -> None:
    assert parse_tests({"inputs": ["1"], "outputs": ["2"]}) == StdinTests(["1"], ["2"])
    assert parse_tests({"inputs": [["1", "2"]], "outputs": [["3"]], "fn_name": None}) == StdinTests(
        ["1\n2\n"], ["3\n"]
    )
    cases = [{"input": {"stdin": "1"}, "output": {"stdout": "2"}}]
    assert parse_tests(json.dumps(cases)) == StdinTests(["1"], ["2"])
    call = CallTests("f", [[[1], 2]], [[3]])
    assert parse_tests({"fn_name": "f", "inputs": ["[1]\n2"], "outputs": ["3"]}) == call
    assert parse_tests({"fn_name": "f", "inputs": [[[1], 2]], "outputs": [3]}) == call
    wrapped = parse_tests({"fn_name": "f", "inputs": [[1], [2]], "outputs": [[3], [4]]})
    assert isinstance(wrapped, CallTests)
    assert wrapped.outputs == [[[3], 3], [[4], 4]]
    human_eval = parse_tests({"test": "def check(c): pass", "entry_point": "f"}, "def f():\n")
    assert isinstance(human_eval, AssertTests)
    assert human_eval.prompt == "def f():\n"
    mbpp = parse_tests({"test_list": ["assert f(1)", "assert f(2)"], "test_imports": ["import re"]})
    assert isinstance(mbpp, AssertTests)
    assert (len(mbpp), mbpp.setup) == (2, "import re\n")


def test_packed_tests_are_read_and_those_that_call_something_refused() -> None:
    rows = [json.loads(row["test"]) if row["test"][0] == "{" else row["test"]
            for row in read_jsonl("livecodebench_v1_sample3.jsonl")]  # fmt: skip
    first, second, third = (parse_tests(row) for row in rows)
    assert isinstance(first, StdinTests)
    assert isinstance(second, CallTests)
    assert second.fn_name == "countSeniors"
    assert isinstance(third, StdinTests)
    packed = base64.b64encode(zlib.compress(pickle.dumps(print))).decode()
    with pytest.raises(ValueError, match="refused"):
        parse_tests(packed)


@pytest.mark.parametrize(
    "tests",
    [
        {}, {"inputs": ["1"], "outputs": []}, "nonsense", {"inputs": [1], "outputs": ["1"]}, 7,
        [{"input": "1"}], {"fn_name": "f", "inputs": ["{"], "outputs": ["1"]},
        [{"input": "1", "output": "2", "testtype": "functional"}],
    ],
)  # fmt: skip
def test_tests_of_no_known_form_are_refused(tests: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_tests(tests)

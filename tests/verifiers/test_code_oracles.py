"""Reference solutions with several right answers, entry points of classes, lists and trees."""

from collections.abc import Iterator
from typing import Any

import pytest

from prime_core.verifiers.code import CodeJudge, Limits
from prime_core.verifiers.code.inside.entries import parse_entry
from prime_core.verifiers.code.inside.nodes import (
    build_list,
    build_tree,
    list_values,
    node_in,
    tree_values,
    values_of,
)
from prime_core.verifiers.verdict import Verdict
from tests.support.shared_data import read_jsonl

DIVISORS = "def total(n): return sum(d for d in range(1, n + 1) if n % d == 0)\n"
EVALPLUS: dict[str, tuple[list[str], list[str]]] = {
    "similar_elements": (
        ["a, b: [x for x in dict.fromkeys(b) if x in a]", "a, b: set(a) & set(b)"],
        ["a, b: a", "a, b: 1"],
    ),
    "Diff": (["a, b: (x for x in set(a) ^ set(b))"], ["a, b: set(a) - set(b)"]),
    "check_str": (
        ["s: bool(re.match(r'[aeiou]\\w*', s, re.I))", "s: re.match(r'[aeiou]\\w*', s, re.I)"],
        ["s: True", "s: re.match('', s)", "s: None", "s: type('Match', (), {})()"],
    ),
    "surface_Area": (
        ["b, h: round(b * b + 2 * b * math.hypot(b / 2, h))", "b, h: b * b + 2 * b * h"],
        ["b, h: b * b"],
    ),
    "digit_distance_nums": (
        ["a, b: sum(abs(int(x) - int(y)) for x, y in zip(f'{a:040}', f'{b:040}'))"],
        ["a, b: abs(a - b)"],
    ),
    "sum_div": (["n: total(n)", "n: total(n) - n"], ["n: 0", "n: n"]),
    "are_equivalent": (
        ["a, b: total(a) == total(b)", "a, b: total(a) - a == total(b) - b"],
        ["a, b: True", "a, b: 0", "a, b: None"],
    ),
}


@pytest.fixture(scope="module")
def judged() -> Iterator[CodeJudge]:
    with CodeJudge(limits=Limits(seconds=3, total_seconds=20)) as one:
        yield one


def verdict(judge: CodeJudge, program: str, tests: dict[str, Any]) -> Verdict:
    return judge(program, tests, is_program=True).verdict


@pytest.mark.parametrize("name", EVALPLUS)
def test_tasks_with_several_right_answers_follow_evalplus(judged: CodeJudge, name: str) -> None:
    row = next(row for row in read_jsonl("mbppplus.jsonl.gz") if row["entry_point"] == name)
    row["plus_input"] = row["plus_input"][:12]
    right, wrong = EVALPLUS[name]
    head = f"import math, re\n{DIVISORS}{name} = lambda "
    assert {p: verdict(judged, head + p, row) for p in right} == dict.fromkeys(
        right, Verdict.correct
    )
    assert Verdict.correct not in {verdict(judged, head + p, row) for p in wrong}


def test_a_rule_belongs_to_its_data_set_and_a_row_may_state_another(judged: CodeJudge) -> None:
    tests = {"entry_point": "Diff", "canonical_solution": "def Diff(): return [1, 2]",
             "base_input": [[]]}  # fmt: skip
    program = "def Diff(): return [2, 1]"
    assert verdict(judged, program, tests) is Verdict.correct
    assert verdict(judged, program, tests | {"task_id": "Mbpp/769"}) is Verdict.correct
    assert verdict(judged, program, tests | {"task_id": "mine/1"}) is Verdict.wrong
    assert verdict(judged, program, tests | {"oracle": "equal"}) is Verdict.wrong
    assert verdict(judged, program, tests | {"oracle": "eqal"}) is Verdict.no_verdict
    root = {"entry_point": "find_zero", "canonical_solution": "def find_zero(xs): return -0.5",
            "base_input": [[[1, 2]], [[-6, 11, -6, 1]]], "atol": 1e-4}  # fmt: skip
    assert verdict(judged, "def find_zero(xs): return 2.00001 if xs[0] < 0 else -0.5", root) \
        is Verdict.correct  # fmt: skip
    assert verdict(judged, "def find_zero(xs): return -0.5", root) is Verdict.wrong


@pytest.mark.parametrize(
    "returned",
    ["lambda: x", "object()", "[x, print]", "{1: (len,)}", "type('Match', (), {})()", "re"],
)
def test_a_reference_whose_value_cannot_be_compared_is_no_verdict(
    judged: CodeJudge, returned: str
) -> None:
    tests = {"entry_point": "f", "canonical_solution": f"import re\ndef f(x): return {returned}",
             "base_input": [[1]]}  # fmt: skip
    assert verdict(judged, "def f(x): return lambda: 0", tests) is Verdict.no_verdict


def test_views_and_generators_are_compared_by_what_they_hold(judged: CodeJudge) -> None:
    for returned in ("{1: 2}.keys()", "(n for n in [1])", "map(abs, [-1])"):
        tests = {"entry_point": "f", "canonical_solution": f"def f(x): return {returned}",
                 "base_input": [[1]]}  # fmt: skip
        assert verdict(judged, "def f(x): return [1]", tests) is Verdict.correct
        assert verdict(judged, "def f(x): return [2]", tests) is Verdict.wrong


METHOD = "class Solution:\n    def __init__(self, step=1): self.step = step\n" \
    "    def f(self, x: List[int]): return x + self.step"  # fmt: skip


@pytest.mark.parametrize("entry", ["f", "Solution.f", "Solution().f", " Solution ( ).f"])
def test_a_method_is_named_in_any_of_the_usual_ways(judged: CodeJudge, entry: str) -> None:
    calls = {"fn_name": entry, "inputs": [[3]], "outputs": [4]}
    assert verdict(judged, METHOD, calls) is Verdict.correct
    assert verdict(judged, METHOD.replace("x +", "x -"), calls) is Verdict.wrong
    check = {"entry_point": entry.strip(), "test": "def check(f):\n    assert f(3) == 4 == f(x=3)"}
    if entry != "f":
        assert verdict(judged, METHOD, check) is Verdict.correct
        assert verdict(judged, METHOD.replace("x +", "x -"), check) is Verdict.wrong


def test_constructors_take_arguments_and_assertions_name_the_class(judged: CodeJudge) -> None:
    assert verdict(judged, METHOD, {"fn_name": "Solution(5).f", "inputs": [[3]], "outputs": [8]}) \
        is Verdict.correct  # fmt: skip
    tests = {"test_list": ["assert Solution().f(3) == 4", "s = Solution(2)\nassert s.f(3) == 5"]}
    assert verdict(judged, METHOD, tests) is Verdict.correct
    assert verdict(judged, METHOD.replace("x +", "x -"), tests) is Verdict.wrong


@pytest.mark.parametrize("entry", ["f(", "a.b.c", "f()()", "x[0].f", "Solution(n).f", "", "f g"])
def test_what_is_no_entry_point_is_no_verdict(judged: CodeJudge, entry: str) -> None:
    with pytest.raises(ValueError, match="no entry point"):
        parse_entry(entry)
    if entry:
        calls = {"fn_name": entry, "inputs": [[3]], "outputs": [4]}
        assert verdict(judged, METHOD, calls) is Verdict.no_verdict


REVERSED = """class Solution:
    def turn(self, head: Optional[ListNode]) -> Optional[ListNode]:
        last = None
        while head: head.next, last, head = last, head, head.next
        return last
"""
MIRRORED = """class Solution:
    def mirror(self, root: "TreeNode | None") -> "TreeNode | None":
        if root: root.left, root.right = self.mirror(root.right), self.mirror(root.left)
        return root
"""
OWN_CLASS = "class ListNode:\n    def __init__(self, val): self.val, self.next = val, None\n"
HELPERS = """class ListNode:
    def __init__(self, val=0, next=None): self.val, self.next = val, next
def list_node(values):
    node = None
    for value in reversed(values): node = ListNode(value, node)
    return node
"""


def test_lists_become_linked_lists_and_trees_where_a_method_says_so(judged: CodeJudge) -> None:
    turn = {"fn_name": "turn", "inputs": [[[1, 2, 3]], [[]]], "outputs": [[3, 2, 1], []]}
    assert verdict(judged, REVERSED, turn) is Verdict.correct
    assert verdict(judged, OWN_CLASS + REVERSED, turn) is Verdict.correct
    assert verdict(judged, REVERSED.replace("last\n", "None\n"), turn) is Verdict.wrong
    mirror = {"fn_name": "Solution().mirror", "inputs": ["[4,2,7,null,3]", "[]"],
              "outputs": ["[4,7,2,null,null,3]", "[]"]}  # fmt: skip
    assert verdict(judged, MIRRORED, mirror) is Verdict.correct
    endless = REVERSED.replace("return last", "last.next = last\n        return last")
    assert verdict(judged, endless, turn) is Verdict.wrong


def test_nodes_cross_between_assertions_and_the_program(judged: CodeJudge) -> None:
    tests = {"prompt": HELPERS, "entry_point": "Solution().turn", "test":
             "def check(f):\n    got = f(head=list_node([1, 2]))\n    assert got.next.val == 1\n"
             "    assert got == list_node([2, 1]) != f(list_node([2, 1]))\n"}  # fmt: skip
    assert verdict(judged, REVERSED, tests) is Verdict.correct
    assert verdict(judged, REVERSED.replace("last\n", "head\n"), tests) is Verdict.wrong


def test_lists_and_trees_are_what_leetcode_writes() -> None:
    for values in ([], [1], [1, None, 2], [4, 2, 7, 1, 3, None, 9], [1, 2, None, 3, None, 4]):
        assert tree_values(build_tree(values)) == values
    assert list_values(build_list([1, 2, 3])) == [1, 2, 3]
    for orphans in ([None, 1], [1, None, None, 2]):
        with pytest.raises(ValueError, match="tree"):
            build_tree(orphans)
    circle = build_list([1, 2])
    circle.next.next = circle
    assert values_of(circle) is None
    assert node_in("List[Optional[ListNode]]") == ("ListNode", 1)
    assert node_in(list[int]) == ("", 0)

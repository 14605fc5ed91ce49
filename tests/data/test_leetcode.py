"""Tests of LeetCode problems: read as calls, never run, refused where they are of another form."""

import pytest

from prime_core.data.leetcode import solution_tests
from prime_core.verifiers.code import judge
from prime_core.verifiers.verdict import Verdict

PLAIN = """
my_solution = Solution()

test_input = { "nums": [1, 2], "k": -1 }
assert my_solution.shift(**test_input) == [0, 1]

test_input = { "nums": [], "k": 3 }
assert my_solution.shift(**test_input) == []
"""
LISTS = """
my_solution = Solution()
_f1 = lambda xs: Node(xs[0], _f1(xs[1:])) if xs else None
_f2 = lambda node: [node.val] + _f2(node.next) if node else []

test_input = { "head": _f1([1, 2, 3]), "by": 10 }
assert _f2(my_solution.grow(**test_input)) == [11, 12, 13]
"""
SHIFT = "class Solution:\n    def shift(self, nums: List[int], k: int):\n        return {}\n"
GROW = """
class Node:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next

class Solution:
    def grow(self, head, by):
        node = head
        while node:
            node.val += by
            node = node.next
        return head
"""


def test_assertions_become_calls_with_arguments_in_their_order():
    assert solution_tests(PLAIN) == {
        "fn_name": "shift",
        "inputs": [[[1, 2], -1], [[], 3]],
        "outputs": [[0, 1], []],
    }


@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        (SHIFT.format("[x + k for x in nums]"), Verdict.correct),
        (SHIFT.format("[x - k for x in nums]"), Verdict.wrong),
        (GROW.replace("grow", "shrink"), Verdict.crashed),
    ],
)
def test_a_solution_is_judged_by_these_calls(program, verdict):
    assert judge(program, solution_tests(PLAIN), is_program=True).verdict is verdict


def test_what_functions_of_the_script_convert_is_converted_beside_the_solution():
    tests = solution_tests(LISTS)
    assert tests["inputs"] == [[[1, 2, 3], 10]]
    right = judge(GROW, tests, is_program=True)
    assert right.verdict is Verdict.correct, right.detail
    assert judge(GROW.replace("+= by", "-= by"), tests, is_program=True).verdict is Verdict.wrong


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import os\n", "assignments and assertions"),
        (PLAIN.replace("== []", "!= []"), "an equality"),
        (PLAIN.replace("== []", "== [].__class__()"), "malformed"),
        (PLAIN + "assert my_solution.other(**test_input) == 1", "2 ways"),
        (PLAIN + 'assert os.system("true") == 0', "a call of my_solution"),
        ("my_solution = Solution()", "0 ways"),
    ],
)
def test_a_script_of_another_form_is_refused_and_says_why(script, reason):
    with pytest.raises(ValueError, match=reason):
        solution_tests(script)

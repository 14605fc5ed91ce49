"""Tests of LeetCode problems, written as a Python script, as the calls that they make.

In: assertions of the form

    my_solution = Solution()
    test_input = { "head": _f1([1, 2]) }
    assert _f2(my_solution.insert(**test_input)) == [1, 2]

Out: {"fn_name", "inputs", "outputs"}; where results are decimals, "decimals"; where arguments or
results are made from plain values by functions of the script ("_f1", "_f2": linked lists), an
"adapter", source that defines a function of plain values under that name. The script is read, never
run: it is checked to have this form.
docs/decisions.md#program-forms
"""

from __future__ import annotations

import ast
from typing import Any

SOLUTION, INPUT = "my_solution", "test_input"


def solution_tests(script: str) -> dict[str, Any]:
    """The calls that a script of tests makes. Raises ValueError for another form."""
    helpers: list[str] = []
    calls: list[tuple[Call, Any]] = []
    arguments: ast.Dict | None = None
    for statement in ast.parse(script).body:
        if isinstance(statement, ast.Assert) and arguments is not None:
            calls.append(_call(statement.test, arguments))
        elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            name = ast.unparse(statement.targets[0])
            if name == INPUT and isinstance(statement.value, ast.Dict):
                arguments = statement.value
            elif name != SOLUTION:
                helpers.append(ast.unparse(statement))
        else:
            raise ValueError(f"expected assignments and assertions, got {ast.unparse(statement)!r}")
    # One adapter serves all calls. A script without any call has no shape, and is refused here,
    # too.
    shapes = {(call.method, call.wrappers, call.result) for call, _ in calls}
    if len(shapes) != 1:
        raise ValueError(f"expected calls of one method in one way, got {len(shapes)} ways")
    first = calls[0][0]
    tests: dict[str, Any] = {
        "fn_name": first.method,
        "inputs": [call.values for call, _ in calls],
        "outputs": [expected for _, expected in calls],
    }
    if any("." in repr(expected) for _, expected in calls):
        tests["decimals"] = 5  # LeetCode prints expected values so, and accepts 1e-5
    if helpers:
        tests["fn_name"] = f"{first.method}_of_plain_values"
        tests["adapter"] = "\n".join([*helpers, first.as_function(tests["fn_name"])])
    return tests


class Call:
    """One call of the solution's method: which, on which values, converted by which functions."""

    def __init__(self, method: str, arguments: ast.Dict, result: str) -> None:
        self.method, self.result = method, result
        pairs = [_wrapped(value) for value in arguments.values]
        self.wrappers = tuple(wrapper for wrapper, _ in pairs)
        self.values = [value for _, value in pairs]

    def as_function(self, name: str) -> str:
        """Source of a function that takes the plain values and gives a plain result."""
        names = [f"x{number}" for number in range(len(self.wrappers))]
        given = [f"{w}({x})" if w else x for w, x in zip(self.wrappers, names, strict=True)]
        call = f"Solution().{self.method}({', '.join(given)})"
        result = f"{self.result}({call})" if self.result else call
        return f"def {name}({', '.join(names)}):\n    return {result}"


def _call(test: ast.expr, arguments: ast.Dict) -> tuple[Call, Any]:
    """The call and the expected value of `[f(]my_solution.method(**test_input)[)] == value`."""
    match test:
        case ast.Compare(left=call, ops=[ast.Eq()], comparators=[expected]):
            pass
        case _:
            raise ValueError(f"expected an equality, got {ast.unparse(test)!r}")
    result = ""
    match call:
        case ast.Call(func=ast.Name(id=result), args=[ast.Call() as inner], keywords=[]):
            call = inner
    match call:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="my_solution"), attr=method),
            args=[],
            keywords=[ast.keyword(arg=None, value=ast.Name(id="test_input"))],
        ):
            return Call(method, arguments, result), ast.literal_eval(expected)
    raise ValueError(f"expected a call of {SOLUTION} with {INPUT}, got {ast.unparse(call)!r}")


def _wrapped(value: ast.expr) -> tuple[str, Any]:
    """("", plain value), or the name of a function and the plain value that it is given."""
    match value:
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            return name, ast.literal_eval(argument)
    return "", ast.literal_eval(value)

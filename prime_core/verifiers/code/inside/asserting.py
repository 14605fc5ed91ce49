"""The trusted side of assertions: tests call the program through pipes and see plain values only.

Names that the tests use and nobody defines (the functions of the program) are proxies: a call
sends its arguments to the program's sandbox as JSON and gives back the decoded result, or raises
the exception that was raised there. Comparison happens here, with the `==` of built-in types.
"""

import ast
import builtins
import copy
import importlib
import sys
from typing import Any, BinaryIO

from . import codec, entries, nodes, oracles

REPLIES_FD, REQUESTS_FD = 4, 5  # 3 is the answer to the host


class ProgramError(Exception):
    """Something that the program did: it raised, ended or answered nonsense."""


class TestsBroken(Exception):
    """Something that the tests did before the program had a say."""


class Program:
    """The line to the program: one call at a time."""

    def __init__(self, replies: BinaryIO, requests: BinaryIO, max_bytes: int) -> None:
        self.replies, self.requests, self.max_bytes = replies, requests, max_bytes
        self.num_calls = 0

    def call(self, name: str, positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """The result of one call there; raises what was raised there, as a ProgramError too."""
        self.num_calls += 1
        request = {"name": name, "arguments": codec.encode([positional, named])}
        try:
            self.requests.write(codec.dumps(request))
            self.requests.flush()
            line = self.replies.readline(self.max_bytes)
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            did = "returned too much" if line else "ended before answering"
            raise ProgramError(f"the program {did}")
        try:
            reply = codec.loads(line)
            if "value" in reply:
                return codec.decode(reply["value"])
            error, message = str(reply["error"]), str(reply["message"])
        except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, RecursionError):
            raise ProgramError("the program returned no value") from None
        raise raised_there(error, message)


def raised_there(name: str, message: str) -> ProgramError:
    """An exception that `except <name>` in the tests catches if it is a built-in kind of error."""
    kind = getattr(builtins, name, None)
    # An AssertionError of the program would pass for a test that failed.
    if isinstance(kind, type) and issubclass(kind, Exception) and kind is not AssertionError:
        try:
            return type(name, (ProgramError, kind), {})(message)
        except TypeError:
            pass  # a kind with another layout or other arguments
    return ProgramError(f"{name}: {message}")


class Proxy:
    """A function of the program."""

    def __init__(self, program: Program, name: str) -> None:
        self._program, self.__name__ = program, name

    def __call__(self, *positional: Any, **named: Any) -> Any:
        """Call it in the program's sandbox."""
        return self._program.call(self.__name__, positional, named)


class Solution:
    """The program's class Solution: calls of its methods, each on an object of its own."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def __call__(self, *arguments: Any) -> "Solution":
        """An object; its arguments must be literals."""
        given = Solution(self._program)
        given._made_by = f"Solution({', '.join(map(repr, arguments))})"
        return given

    _made_by = "Solution"

    def __getattr__(self, name: str) -> Proxy:
        return Proxy(self._program, f"{self._made_by}.{name}")


def names_of_program(source: str, known: dict[str, Any]) -> list[str]:
    """The names that the tests use of the program: those that nobody else defines.

    A program may be asked to define a built-in name (`sum` in MBPP 126). Only a name that the
    tests use for nothing else is then the program's: all they call, and they name nothing new.
    """
    nodes = list(ast.walk(ast.parse(source)))
    loaded = {node.id for node in nodes
              if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}  # fmt: skip
    names = sorted(loaded - bound_names(nodes) - known.keys())
    new = [name for name in names if not hasattr(builtins, name)]
    called = {node.func.id for node in nodes
              if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
    if not new and len(called) == 1:
        return [name for name in names if name in called]
    return new


def bound_names(nodes: list[ast.AST]) -> set[str]:
    """All names that a piece of source defines somewhere."""
    bound: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(item.asname or item.name).partition(".")[0] for item in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return bound


def missing_modules(source: str, known: dict[str, Any]) -> dict[str, Any]:
    """Standard modules whose attributes the tests use without importing them (MBPP 596)."""
    nodes = list(ast.walk(ast.parse(source)))
    bases = {node.value.id for node in nodes
             if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)}  # fmt: skip
    missing = bases & sys.stdlib_module_names - bound_names(nodes) - known.keys()
    return {name: importlib.import_module(name) for name in missing}


def run_assertions(task: dict[str, Any]) -> dict[str, Any]:
    """{"passed": True}, or {"failed": why, "blame": "program" | "tests"}."""
    nodes.compare_by_value()
    with open(REPLIES_FD, "rb") as replies, open(REQUESTS_FD, "wb") as requests:
        program = Program(replies, requests, task["max_bytes"])
        try:
            run_all(task, program)
        except AssertionError as error:
            return {"failed": f"assertion: {describe(error)}", "blame": "program", "how": "wrong"}
        except ProgramError as error:
            return {"failed": describe(error), "blame": "program", "how": "crashed"}
        # The tests' own: raised in the program, these are ProgramErrors.
        except (TestsBroken, SyntaxError, NameError, ImportError) as error:
            return {"failed": describe(error), "blame": "tests", "how": ""}
        except BaseException as error:
            # such as `None < 3`: the tests cannot work with what the program gave them
            blame = "program" if program.num_calls else "tests"
            return {"failed": describe(error), "blame": blame, "how": "wrong"}
    # Such tests would pass every program.
    if not program.num_calls:
        return {"failed": "the tests never call the program", "blame": "tests", "how": ""}
    return {"passed": True, "calls": program.num_calls}


def describe(error: BaseException) -> str:
    """The kind of the error and its message, on one line."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:500]


def run_all(task: dict[str, Any], program: Program) -> None:
    """Define what the tests need, then run them; the first failure rises."""
    names: dict[str, Any] = {"__name__": "tests"}
    if task["prompt"]:
        try:
            exec(task["prompt"], names)  # its helper functions: trusted, unlike the program's copy
        except Exception:
            names = {"__name__": "tests"}  # a prompt in prose
    entry_point = task["entry_point"]
    if task["reference"]:
        compare_with_reference(task, program, names)
        return
    source = "\n".join([task["setup"], *task["tests"]])
    names |= missing_modules(source, names)
    for name in names_of_program(source, names):
        names[name] = Solution(program) if name == "Solution" else Proxy(program, name)
    if entry_point:
        names[entry_point] = Proxy(program, entry_point)
    exec(compile(source, "tests.py", "exec", dont_inherit=True), names)
    # HumanEval's tests define check() and leave the call to the harness.
    if entry_point and entry_point != "check" and "check" in names:
        names["check"](names[entry_point])


def compare_with_reference(task: dict[str, Any], program: Program, names: dict[str, Any]) -> None:
    """The program returns what the reference solution returns, on every input."""
    exec(compile(task["reference"], "reference.py", "exec", dont_inherit=True), names)
    entry_point, tolerance = task["entry_point"], task["tolerance"]
    reference = entries.find_function(names, entry_point)
    is_right = oracles.ORACLES[task["oracle"]]
    for arguments in codec.decode(task["inputs"]):
        try:
            # A solution may change its arguments in place; the program gets them next.
            returned = reference(*copy.deepcopy(arguments))
            # What the reference returns crosses as well, and loses its subclasses like the
            # program's.
            expected = codec.decode(codec.encode(returned))
        except Exception as error:
            raise TestsBroken(f"the reference fails on {arguments!r:.200}: {error}") from None
        # All functions, or all objects of a class, would be equal.
        if task["oracle"] != "found" and oracles.has_opaque(expected):
            raise TestsBroken(f"the reference returns what cannot be compared: {expected!r:.200}")
        got = program.call(entry_point, tuple(arguments), {})
        if codec.is_iterator(expected):
            expected, got = list(expected), list(got)
        if not is_right(got, expected, arguments, tolerance):
            raise AssertionError(f"{arguments!r:.200}: {got!r:.200} is not {expected!r:.200}")

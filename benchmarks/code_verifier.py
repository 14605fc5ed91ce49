"""What judging a program costs: milliseconds cold and warm, programs a second on several cores.

    python -m benchmarks.code_verifier [--programs 200] [--cores 2]

The program reads a line and prints a sum, so that the sandbox is measured and not the program.
Cold: a new sandbox with a new interpreter for every program. Warm: a fork in a fresh sandbox. One
test per program, as a verifier pays per test.
"""

import argparse
import multiprocessing
import statistics
import time

from prime_core.verifiers.code import CodeJudge, SandboxUnavailable

PROGRAM = "n = int(input())\nprint(sum(map(int, input().split())))\n"
STDIN = {"inputs": ["3\n1 2 3\n"], "outputs": ["6\n"]}
FUNCTION = "def total(xs):\n    return sum(xs)\n"
CALL = {"fn_name": "total", "inputs": ["[1, 2, 3]"], "outputs": ["6"]}
ASSERTIONS = {"test_list": ["assert total([1, 2, 3]) == 6", "assert total([-7]) == -7"]}
CASES = {"stdin": (PROGRAM, STDIN), "call": (FUNCTION, CALL), "assertions": (FUNCTION, ASSERTIONS)}


def milliseconds(sandbox: str, case: str, num_programs: int, *, warm: bool) -> list[float]:
    """Wall-clock milliseconds of each judgement; warm sandboxes are started beforehand."""
    program, tests = CASES[case]
    with CodeJudge(sandbox=sandbox, warm=warm) as judge:
        judge(program, tests, is_program=True)
        times = []
        for _ in range(num_programs):
            judgement = judge(program, tests, is_program=True)
            assert judgement.outcome == 1.0, judgement
            times.append(1000 * judgement.seconds)
    return times


def judge_many(sandbox: str, num_programs: int) -> float:
    """Seconds for num_programs, without the sandbox's startup."""
    return sum(milliseconds(sandbox, "stdin", num_programs, warm=True)) / 1000


def programs_per_second(sandbox: str, num_programs: int, num_cores: int) -> float:
    """Programs judged per second, with one judging process per core, each judging them all."""
    with multiprocessing.get_context("spawn").Pool(num_cores) as pool:
        pool.starmap(judge_many, [(sandbox, 5)] * num_cores)  # imports and startup are not measured
        started = time.monotonic()
        pool.starmap(judge_many, [(sandbox, num_programs)] * num_cores)
        return num_cores * num_programs / (time.monotonic() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--programs", type=int, default=200, help="programs per measurement")
    parser.add_argument("--cores", type=int, default=2, help="judging processes side by side")
    arguments = parser.parse_args()
    print("| sandbox | start | tests | median ms | mean ms | 99 % ms | max ms |")
    print("|---|---|---|---:|---:|---:|---:|")
    rates = []
    for sandbox in ("bubblewrap", "namespaces", "none"):
        try:
            for warm, case in ((False, "stdin"), *((True, case) for case in CASES)):
                count = arguments.programs if warm else max(10, arguments.programs // 10)
                times = sorted(milliseconds(sandbox, case, count, warm=warm))
                figures = [
                    statistics.median(times),
                    statistics.mean(times),
                    times[int(0.99 * len(times))],
                    times[-1],
                ]
                row = " | ".join(f"{figure:.1f}" for figure in figures)
                print(f"| {sandbox} | {'warm' if warm else 'cold'} | {case} | {row} |", flush=True)
            rates.append(
                (sandbox, programs_per_second(sandbox, arguments.programs, arguments.cores))
            )
        except SandboxUnavailable as error:
            print(f"| {sandbox} | unavailable: {error} |")
    for sandbox, rate in rates:
        print(f"\n{sandbox}: {rate:.0f} programs/s with {arguments.cores} judging processes")


if __name__ == "__main__":
    main()

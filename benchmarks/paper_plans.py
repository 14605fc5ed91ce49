"""The plans that docs/paper.md and docs/gpu.md show, as they are today.

    python -m benchmarks.paper_plans            # print what both pages show
    python -m benchmarks.paper_plans --write    # and put it into them

It takes seconds and no GPU. Of all runs of the paper on one node of eight A100, and of eight H100,
a table, in which memory is what the largest training stage needs on a GPU and on its node (sampling
takes as much of a GPU as rollout.gpu_memory_utilization allows); of some runs the seconds of an
iteration in each way; of the main run the page of `prime plan`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from prime_core.planning.command import Options, find_shape, gpu_source, make_case
from prime_core.planning.comparison import plans_of, quickest
from prime_core.planning.hardware import GIB
from prime_core.planning.page import page
from prime_core.planning.plan import Plan, num_starts
from prime_core.run.stages import STOPPABLE
from prime_core.runtime.text import bytes_text
from prime_core.settings.reading import load_settings

CONFIGS = Path("configs")
PAPER = CONFIGS / "paper"
MAIN = PAPER / "eurus2_7b_prime.yaml"
# Runs of which the guide shows every way, and the GPUs of their machine.
WAYS = (
    ("0.5 B", CONFIGS / "gsm8k_qwen05b.yaml", 1),
    ("7 B", MAIN, 8),
    ("32 B", PAPER / "prime_zero_32b.yaml", 8),
)
HEAD = (
    "| file | jobs | GiB a GPU | GB a node | disk | days on 8 A100: Slurm jobs, one allocation | "
    "days on 8 H100 | GPU-hours on A100 | on H100 |\n|---|---|---|---|---|---|---|---|---|"
)
HEAD_OF_WAYS = "| model, GPUs | run | way | seconds an iteration | starts it waits for | days |"


def plans(config: Path, gpu: str, gpus: int = 8) -> list[Plan]:
    """The plan of each way on one node. Raises what `prime plan` does."""
    settings = load_settings(config)
    shape = find_shape(settings, None)[1]
    return plans_of(make_case(settings, None, shape, Options(gpu=gpu, gpus=gpus)))


def in_jobs_and_allocation(config: Path, gpu: str) -> tuple[Plan, Plan]:
    """The plans as Slurm jobs, and in one allocation with the settings as they are.

    Raises AssertionError for a plan that does not fit.
    """
    found = plans(config, gpu)
    usual = load_settings(config).resident
    jobs = next(one for one in found if one.case.way.place == "slurm")
    whole = next(
        one
        for one in found
        if one.case.way.place == "allocation" and one.case.way.resident == usual
    )
    for one in (jobs, whole):
        assert not one.problems, (config, one.problems)
    return jobs, whole


def line(config: Path) -> str:
    """A row of the table of the paper's runs."""
    a100, h100 = (in_jobs_and_allocation(config, gpu) for gpu in ("a100", "h100"))
    jobs = a100[0]
    trained = [stage for name, stage in jobs.stages.items() if name in STOPPABLE]
    cells = (
        f"`{config.stem}`",
        f"{jobs.total.num_jobs:,}",
        f"{max(stage.gpu_bytes for stage in trained) / GIB:.0f}",
        f"{max(stage.node_bytes for stage in trained) / 1e9:.0f}",
        bytes_text(jobs.disk.most),
        *(", ".join(f"{one.total.hours / 24:.1f}" for one in both) for both in (a100, h100)),
        *(", ".join(f"{one.total.gpu_hours:,.0f}" for one in both) for both in (a100, h100)),
    )
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """The table of all files of configs/paper, in order of their names."""
    return "\n".join([HEAD, *(line(config) for config in sorted(PAPER.glob("*.yaml")))])


def table_of_ways() -> str:
    """Every way of some runs on A100, the quickest in bold."""
    lines = [HEAD_OF_WAYS, "|---|---|---|---|---|---|"]
    for size, config, gpus in WAYS:
        found = plans(config, "a100", gpus)
        best = quickest(found)
        for one in found:
            seconds = f"{one.total.iteration_seconds:.0f}"
            cells = (
                f"{size}, {gpus}",
                f"`{config.stem}`",
                one.case.way.name,
                f"**{seconds}**" if one is best else seconds,
                str(num_starts(one.path)),
                f"{one.total.hours / 24:.1f}" if not one.problems else "does not fit",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page_of_the_main_run() -> str:
    """What `prime plan` prints of it where no site is known, without the last line's end."""
    settings, options = load_settings(MAIN), Options(way="allocation")
    name, shape = find_shape(settings, None)
    found = plans_of(make_case(settings, None, shape, options))
    chosen = next(
        one
        for one in found
        if (one.case.way.place, one.case.way.resident) == ("allocation", settings.resident)
    )
    return page(chosen, found, name, gpu_source(None, Path(), options))


def documented() -> list[tuple[Path, str, str]]:
    """Pages, the first line of what they show, and what that is."""
    docs = Path("docs")
    whole = page_of_the_main_run()
    return [
        (docs / "paper.md", HEAD.splitlines()[0], table()),
        (docs / "gpu.md", HEAD_OF_WAYS, table_of_ways()),
        (docs / "gpu.md", whole.splitlines()[0], whole),
    ]


def replaced(text: str, first: str, shown: str) -> str:
    """A page with today's block in place of the one that begins with this line.

    Raises ValueError where there is none.
    """
    begin = text.index(f"{first}\n")
    end = text.index("```" if not first.startswith("|") else "\n\n", begin)
    return text[:begin] + shown + ("\n" if text[end] == "`" else "") + text[end:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="also write both pages anew")
    options = parser.parse_args()
    for path, first, shown in documented():
        print(shown, end="\n\n")
        if options.write:
            text = path.read_text(encoding="utf-8")
            path.write_text(replaced(text, first, shown), encoding="utf-8")


if __name__ == "__main__":
    main()

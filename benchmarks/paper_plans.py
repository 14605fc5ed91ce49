"""The plans of all runs of the paper on one node of eight A100, and of eight H100: a table.

`python -m benchmarks.paper_plans` prints the table of docs/paper.md; it takes seconds and no GPU.
Memory is what the largest training stage needs on a GPU and on its node; sampling takes as much of
a GPU as rollout.gpu_memory_utilization allows.
"""

from __future__ import annotations

from pathlib import Path

from prime_core.planning.command import Options, find_shape, make_case
from prime_core.planning.hardware import GIB
from prime_core.planning.plan import Plan, plan
from prime_core.run.stages import STOPPABLE
from prime_core.runtime.text import bytes_text
from prime_core.settings.reading import load_settings

PAPER = Path("configs") / "paper"
HEAD = (
    "| file | jobs | GiB a GPU | GB a node | disk | days on 8 A100 | days on 8 H100 | "
    "GPU-hours |\n|---|---|---|---|---|---|---|---|"
)


def planned(config: Path, gpu: str) -> Plan:
    """The plan on one node of eight GPUs. Raises what `prime plan` does."""
    settings = load_settings(config)
    shape = find_shape(settings, None)[1]
    return plan(make_case(settings, None, shape, Options(gpu=gpu, gpus=8)))


def line(config: Path) -> str:
    """A row of the table. Raises AssertionError for a plan that does not fit."""
    a100, h100 = planned(config, "a100"), planned(config, "h100")
    assert not a100.problems, (config, a100.problems)
    assert not h100.problems, (config, h100.problems)
    trained = [stage for name, stage in a100.stages.items() if name in STOPPABLE]
    cells = (
        f"`{config.stem}`",
        f"{a100.total.num_jobs:,}",
        f"{max(stage.gpu_bytes for stage in trained) / GIB:.0f}",
        f"{max(stage.node_bytes for stage in trained) / 1e9:.0f}",
        bytes_text(a100.disk.most),
        f"{a100.total.hours / 24:.1f}",
        f"{h100.total.hours / 24:.1f}",
        f"{a100.total.gpu_hours:,.0f}, {h100.total.gpu_hours:,.0f}",
    )
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """The table of all files of configs/paper, in order of their names."""
    return "\n".join([HEAD, *(line(config) for config in sorted(PAPER.glob("*.yaml")))])


if __name__ == "__main__":
    print(table())

"""Stages import what they use: no torch where tables are read, no DeepSpeed where nothing trains.

Each stage of a small run takes place in a process of its own, forked from one that has imported
nothing of it, and tells which libraries were there at its end.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.interrupted_stages import SETTINGS, environment, open_run

# The whole command, as rules give it. Heavy libraries are imported once for the stages that need
# them, DeepSpeed apart.
PROGRAM = """
import json, os, sys
from pathlib import Path

root, report = sys.argv[1:3]
COMMANDS = json.loads(sys.argv[3])

def run(words):
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, words
        return
    status = 1
    try:
        from prime_core.cli.main import main
        main([*words, "--run", root], standalone_mode=False)
        with open(report, "a") as lines:
            lines.write(json.dumps([words[0], sorted(LIBRARIES & sys.modules.keys())]) + "\\n")
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)

LIBRARIES = {"torch", "transformers", "deepspeed", "vllm", "snakemake", "sympy", "math_verify"}
for kind, words in COMMANDS:
    if kind == "heavy" and "torch" not in sys.modules:
        import torch, transformers
        import prime_core.models.load
    run(words)
"""
ITERATION = ("--iteration", "1")
PIPELINE = [
    ["build"],
    ["prepare"],
    ["sft"],
    ["sample", *ITERATION, "--shard", "0"],
    ["verify", *ITERATION, "--shard", "0"],
    ["select", *ITERATION],
    ["score", *ITERATION],
    ["prm", *ITERATION],
    ["policy", *ITERATION],
    ["evaluate", *ITERATION, "--benchmark", "validation", "--shard", "0", "--of", "2"],
    ["evaluate", *ITERATION, "--benchmark", "validation", "--shard", "1", "--of", "2"],
]
OF_TABLES = [
    ["verify", *ITERATION, "--shard", "0"],
    ["select", *ITERATION],
    ["save-state", *ITERATION, "--model", "policy"],
    ["evaluate", *ITERATION, "--benchmark", "validation"],  # joins its shards
    ["report"],
    ["crate"],
]
TRAINING = {"sft", "prm", "policy"}


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> dict[str, list[tuple[str, set[str]]]]:
    """Command and libraries of each stage, of those from a heavy and from an empty process."""
    folder = tmp_path_factory.mktemp("imports")
    validation = SETTINGS["evaluation"]["benchmarks"]["validation"] | {"num_shards": 2}
    changes: dict[str, Any] = {
        "sft": SETTINGS["sft"] | {"num_steps": 30},
        "prm": SETTINGS["prm"] | {"epochs": 1},
        "policy": SETTINGS["policy"] | {"ppo_epochs": 1, "max_mismatch_kl": None},
        "evaluation": {"benchmarks": {"validation": validation}},
    }
    files, found = open_run(folder / "tiny", **changes), {}
    for kind, commands in (("heavy", PIPELINE), ("light", OF_TABLES)):
        words = json.dumps([(kind, command) for command in commands])
        report = folder / kind
        command = [sys.executable, "-c", PROGRAM, str(files.root), str(report), words]
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        lines = [json.loads(line) for line in report.read_text().splitlines()]
        found[kind] = [(name, {*libraries}) for name, libraries in lines]
    return found


def test_deepspeed_is_imported_where_something_trains_and_nowhere_else(imported):
    names = [name for name, _ in imported["heavy"]]
    assert names == [words[0] for words in PIPELINE]
    assert {name for name, libraries in imported["heavy"] if "deepspeed" in libraries} == TRAINING


def test_stages_that_read_and_write_tables_import_neither_torch_nor_a_tokenizers_library(imported):
    assert imported["light"] == [(words[0], set()) for words in OF_TABLES]

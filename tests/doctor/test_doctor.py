"""`prime doctor` as it is typed: lines, JSON, exit status; and the software that it looks at."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest

from prime_core.doctor import doctor, software
from prime_core.doctor.finding import Finding
from prime_core.doctor.processes import Answer
from prime_core.launch.slurm import commands as slurm
from tests.support.shared_data import ROOT
from tests.support.vllm_installed import need_vllm

NAMES = ["Python", "packages", "torch", "driver", "GPU", "vLLM", "DeepSpeed", "sandbox", "Slurm"]
NAMES += ["HF cache", "results", "disk", "/dev/shm", "TMPDIR"]


@pytest.mark.slow
def test_every_line_is_there_without_home_and_in_a_folder_of_somebody_else(tmp_path):
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    # A package that is there and does not load: its import is bounded, and a line.
    broken = tmp_path / "vllm"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('libcudart.so.13: cannot open')")
    environment["PYTHONPATH"] = f"{tmp_path}:{ROOT}"
    words = [sys.executable, "-m", "prime_core.cli.main", "doctor", "--json", "--gpu"]
    done = subprocess.run(
        words,
        cwd="/proc/self",  # where not even root may write
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    answer = json.loads(done.stdout)
    found = {one["name"]: one for one in answer["findings"]}
    assert list(found) == [*NAMES, "--gpu"]
    assert (found["vLLM"]["state"], found["vLLM"]["fails"]) == ("wrong", True)
    assert "libcudart.so.13" in found["vLLM"]["detail"]
    assert found["results"]["state"] == "wrong"
    assert all(found[name]["state"] == "ok" for name in ("Python", "torch", "DeepSpeed"))
    assert "no GPU that torch can use" in found["--gpu"]["detail"]
    assert (done.returncode, answer["ok"]) == (1, False)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_vllm_is_imported_in_a_process_of_its_own():
    need_vllm()
    found = software.vllm_finding()
    assert (found.name, found.state) == ("vLLM", "ok"), found
    assert "imported in" in found.detail
    assert "vllm" not in sys.modules


def run_with(found: list[Finding], capsys, monkeypatch, as_json: bool = False) -> tuple[int, str]:
    monkeypatch.setattr(doctor, "findings", lambda *_: iter(found))
    status = doctor.run(ROOT, False, as_json)
    return status, capsys.readouterr().out


OK = Finding("Python", "ok", "3.13")
NO_SLURM = Finding("Slurm", "missing", "no sbatch on PATH", needed=False)
OLD = Finding("driver", "wrong", "550 is too\nold", "ask for a newer one")


def test_what_is_missing_and_not_needed_is_said_and_exits_with_0(capsys, monkeypatch):
    status, text = run_with([OK, NO_SLURM], capsys, monkeypatch)
    assert status == 0
    assert text.splitlines() == [
        "ok      Python          3.13",
        "missing Slurm           no sbatch on PATH",
        "everything needed is there; not here, and not needed everywhere: Slurm",
    ]


def test_what_is_wrong_is_one_line_with_what_to_do_and_exits_with_1(capsys, monkeypatch):
    status, text = run_with([OK, OLD], capsys, monkeypatch)
    assert status == 1
    assert "WRONG   driver          550 is too old -> ask for a newer one\n" in text
    assert text.endswith("to be put right: driver\n")
    status, text = run_with([OK, OLD], capsys, monkeypatch, as_json=True)
    assert (status, json.loads(text)["ok"]) == (1, False)


def test_packages_out_of_range_or_absent_are_named(monkeypatch):
    wanted = ["click>=8", "torch<1", "no-such-package>=2", "vllm<0.1; extra == 'gpu'"]
    wanted += ["pytest<1; extra == 'test'"]
    monkeypatch.setattr(software.importlib.metadata, "requires", lambda _name: wanted)
    found = software.packages_finding()
    assert found.state == "wrong"
    torch = metadata.version("torch")
    assert found.detail.startswith(f"torch {torch}, expected <1; no-such-package is not installed")
    assert "pytest" not in found.detail


def test_another_python_than_the_projects_is_wrong(monkeypatch):
    monkeypatch.setattr(software.platform, "python_version", lambda: "3.9.2")
    found = software.python_finding()
    assert (found.state, ">=3.11" in found.detail) == ("wrong", True)


def test_the_sandbox_is_tried_with_a_program(monkeypatch):
    found = software.sandbox_finding()
    assert found.state in ("ok", "missing")  # as this machine allows
    assert not found.fails
    answer = Answer([{"problem": "bubblewrap: Operation not permitted"}])
    monkeypatch.setattr(software, "ask", lambda *_: answer)
    found = software.sandbox_finding()
    assert (found.state, "not permitted" in found.detail) == ("missing", True)


def test_slurm_that_does_not_answer_is_wrong_and_none_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert software.slurm_finding() == Finding(
        "Slurm", "missing", "no sbatch on PATH: runs are local (`snakemake`)", needed=False
    )
    for name, text in {
        "sbatch": "",
        "scontrol": "echo 'Unable to contact controller' >&2; exit 1",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    found = software.slurm_finding()
    assert found.state == "wrong"
    assert "Unable to contact controller" in found.detail

    def no_cluster() -> None:
        raise slurm.NoCluster("scontrol: this machine belongs to no Slurm cluster")

    monkeypatch.setattr(software.cluster, "ask", no_cluster)
    assert not software.slurm_finding().fails


def test_vllms_lines():
    facts = {"version": "0.32.0", "platform": "cuda", "seconds": 9.8}
    assert software.vllm_line(Answer([facts])).detail == "0.32.0, for cuda, imported in 9.8 s"
    assert "its CPU build" in software.vllm_line(Answer([facts | {"platform": "cpu"}])).detail
    assert software.vllm_line(Answer(problem="no answer within 90 s")).fails

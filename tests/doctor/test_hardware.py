"""torch, driver and GPUs of made-up machines: what is said of them."""

import pytest

from prime_core.doctor import hardware
from prime_core.doctor.hardware import Driver, ask_driver, hardware_findings, has_code_for
from prime_core.doctor.processes import Answer

GB = 10**9
CUDA_13 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]


def gpu(name: str, capability: list[int], size: int = 80) -> dict:
    return {"name": name, "capability": capability, "bytes": size * GB}


def facts(**changes: object) -> dict:
    usual = {
        "version": "2.13.0+cu130",
        "cuda": "13.0",
        "hip": None,
        "architectures": CUDA_13,
        "nccl": "2.28.3",
        "gpus": [gpu("NVIDIA H100", [9, 0])] * 8,
        "warning": "",
    }
    return usual | changes


NONE = {"gpus": [], "nccl": "", "architectures": []}
CPU = facts(version="2.13.0+cpu", cuda=None, **NONE)
EIGHT = Driver("580.65.06", ("NVIDIA H100",) * 8)


def states(torch: dict, driver: Driver) -> dict[str, str]:
    return {one.name: one.state for one in hardware_findings(Answer([torch]), driver)}


def line(name: str, torch: dict, driver: Driver) -> str:
    (one,) = [one for one in hardware_findings(Answer([torch]), driver) if one.name == name]
    return f"{one.detail} -> {one.todo}"


def test_a_node_that_suits():
    assert states(facts(), EIGHT) == {"torch": "ok", "driver": "ok", "GPU": "ok"}
    assert "CUDA 13.0, NCCL 2.28.3" in line("torch", facts(), EIGHT)
    assert "580.65.06, new enough for CUDA 13.0" in line("driver", facts(), EIGHT)
    assert "8 x NVIDIA H100, 80 GB, compute capability 9.0" in line("GPU", facts(), EIGHT)


@pytest.mark.parametrize(
    ("version", "cuda", "state"),
    [
        ("580.65.06", "13.0", "ok"),
        ("575.57.08", "13.0", "wrong"),
        ("550.54.15", "13.0", "wrong"),
        ("550.54.15", "12.8", "ok"),
        ("525.60.13", "12.1", "ok"),
        ("525.60.11", "12.1", "wrong"),
        ("470.82.01", "12.8", "wrong"),
        ("470.82.01", "11.8", "ok"),
        ("590.10", "13.0", "ok"),
    ],
)
def test_cuda_13_wants_r580_and_each_generation_its_own(version, cuda, state):
    torch = facts(cuda=cuda, **NONE)
    assert states(torch, Driver(version, ("NVIDIA A100",)))["driver"] == state


def test_what_torch_can_do_counts_more_than_the_drivers_number():
    """NVIDIA's compatibility libraries let data-centre GPUs run with an older driver."""
    driver = Driver("550.54.15", ("NVIDIA H100",) * 8)
    assert states(facts(), driver) == {"torch": "ok", "driver": "ok", "GPU": "ok"}
    assert "wants 580 or newer, but torch can use the GPUs" in line("driver", facts(), driver)


def test_a_driver_that_is_too_old_is_named_with_what_to_do():
    torch = facts(**NONE, warning="The NVIDIA driver on your system is too old (found 12040)")
    driver = Driver("550.54.15", ("NVIDIA A100",) * 4)
    assert states(torch, driver) == {"torch": "ok", "driver": "wrong", "GPU": "wrong"}
    assert "550.54.15 is too old: torch's CUDA 13.0 wants 580" in line("driver", torch, driver)
    assert "lists 4 x NVIDIA A100, torch can use none: The NVIDIA driver" in line(
        "GPU", torch, driver
    )


def test_a_cpu_build_is_right_on_a_laptop_and_wrong_beside_gpus():
    assert states(CPU, Driver()) == {"torch": "ok", "driver": "missing", "GPU": "missing"}
    assert states(CPU, EIGHT)["torch"] == "wrong"
    assert "a CPU build, and there are 8 GPUs here" in line("torch", CPU, EIGHT)


def test_neither_driver_nor_gpu_is_needed():
    found = hardware_findings(Answer([CPU]), Driver())
    assert not any(one.fails for one in found)


@pytest.mark.parametrize(
    ("capability", "runs"),
    [
        ([6, 1], False),
        ([7, 0], False),
        ([7, 5], True),
        ([8, 9], True),
        ([10, 3], True),
        ([12, 1], True),
        ([13, 0], True),
    ],
)
def test_which_gpus_a_build_has_code_for(capability, runs):
    assert has_code_for(capability, CUDA_13) is runs


def test_machine_code_is_for_its_own_generation_and_compute_for_later_ones():
    assert not has_code_for([9, 0], ["sm_80", "sm_86"])
    assert has_code_for([9, 0], ["sm_80", "compute_86"])
    assert has_code_for([9, 0], ["sm_90a"])
    assert has_code_for([9, 0], ["gfx90a"])


def test_a_gpu_without_code_is_wrong_and_one_without_bfloat16_is_said():
    volta = facts(gpus=[gpu("Tesla V100", [7, 0], 32)])
    assert states(volta, Driver("580.1", ("Tesla V100",)))["GPU"] == "wrong"
    assert "no code for it" in line("GPU", volta, Driver("580.1", ("Tesla V100",)))
    turing = facts(gpus=[gpu("Quadro RTX 8000", [7, 5], 48)])
    assert states(turing, Driver("580.1", ("Quadro RTX 8000",)))["GPU"] == "ok"
    assert "model.dtype float32" in line("GPU", turing, Driver("580.1", ("Quadro RTX 8000",)))


def test_several_kinds_of_gpus_are_counted_by_kind():
    mixed = facts(gpus=[gpu("A", [8, 0], 40), gpu("B", [9, 0]), gpu("A", [8, 0], 80)])
    text = line("GPU", mixed, EIGHT)
    assert "1 x A, 40 GB, compute capability 8.0; 1 x B" in text


def test_a_torch_that_does_not_import_is_wrong_and_the_driver_is_still_told():
    found = hardware_findings(Answer(problem="ImportError: libcudart.so.13"), EIGHT)
    assert [(one.name, one.state) for one in found] == [("torch", "wrong"), ("driver", "ok")]
    assert "libcudart.so.13" in found[0].detail


def command(folder, monkeypatch, text: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_nvidia_smis_answer_is_read(tmp_path, monkeypatch):
    command(
        tmp_path, monkeypatch, "echo '580.65.06, NVIDIA H100, 80GB'; echo '580.65.06, NVIDIA T4'"
    )
    assert ask_driver() == Driver("580.65.06", ("NVIDIA H100, 80GB", "NVIDIA T4"))
    command(tmp_path, monkeypatch, "echo 'Driver/library version mismatch' >&2; exit 18")
    assert ask_driver() == Driver(problem="Driver/library version mismatch")
    found = hardware_findings(Answer([CPU]), ask_driver())
    assert found[1].state == "wrong"
    monkeypatch.setattr(hardware, "_SECONDS", 0.2)
    command(tmp_path, monkeypatch, "exec sleep 20")
    assert ask_driver() == Driver(problem="no answer within 0 s")


def test_without_nvidia_smi_the_kernels_module_tells_the_version(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(hardware, "KERNEL_MODULE", tmp_path / "version")
    assert ask_driver() == Driver()
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX Open  570.124.06  Release Build\n")
    assert ask_driver() == Driver("570.124.06")

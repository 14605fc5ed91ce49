"""GPUs by name: the right row of the table, or a refusal; never another GPU in silence."""

import json

import pytest

from prime_core.cli.main import main
from prime_core.launch.site.site import Pool, Site
from prime_core.planning.command import Options, choose_gpu
from prime_core.planning.gpus import KINDS, UnknownGpu, gpu_of
from prime_core.planning.shapes import PlanError
from tests.support.paper_plan import PRIME, planned

pytestmark = pytest.mark.usefixtures("without_site")


@pytest.mark.parametrize(
    ("name", "gpu", "gib"),
    [
        ("nvidia_h100_80gb_hbm3", "h100", 79.0),
        ("h100_pcie", "h100_pcie", 79.0),
        ("NVIDIA H100 NVL", "h100_nvl", 93.0),
        ("NVIDIA-A100-PCIE-40GB", "a100_40", 39.5),
        ("a100_80", "a100", 79.0),
        ("Tesla V100-SXM2-16GB", "v100_16", 15.5),
        ("nvidia_geforce_rtx_2080_ti", "rtx_2080_ti", 10.5),
        ("rtx2080ti", "rtx_2080_ti", 10.5),
        ("NVIDIA RTX 6000 Ada Generation", "rtx_6000_ada", 47.5),
        ("nvidia_rtx_a6000", "a6000", 47.5),
        ("quadro_rtx_8000", "quadro_rtx_8000", 44.5),
        ("tesla_t4", "t4", 14.5),
        ("l40s", "l40s", 44.5),
        ("l40", "l40", 44.5),
        ("l4", "l4", 22.0),
        ("a10", "a10", 22.0),
        ("amd_mi250x", "mi250x", 63.5),
        ("1g.5gb_a100", "a100_40_1g.5gb", 4.8),
        ("nvidia_a100_3g.20gb", "a100_40_3g.20gb", 19.0),
        ("a100_3g.40gb", "a100_3g.40gb", 38.0),
        ("nvidia_h100_80gb_hbm3_1g.10gb", "h100_1g.10gb", 9.5),
        ("a30_2g.12gb", "a30_2g.12gb", 11.4),
    ],
)
def test_gpus_are_known_by_the_names_that_slurm_and_nvidia_smi_give_them(name, gpu, gib):
    found, remark = gpu_of(name)
    assert (found.name, found.memory_gib, remark) == (gpu, gib, "")


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("a100", "a100: taken for a100 (80 GB, 312 TFLOP/s), not a100_40 (40 GB, 312 TFLOP/s)"),
        ("v100", "v100: taken for v100 (32 GB, 125 TFLOP/s), not v100_16 (16 GB, 125 TFLOP/s)"),
        ("h100_80gb", "h100_80gb: taken for h100 (80 GB, 989 TFLOP/s), not h100_pcie (80 GB, 7"),
        ("a100_64gb", "a100_64gb: a100 with the memory of the name"),
    ],
)
def test_a_name_that_leaves_something_open_says_what_is_taken(name, remark):
    assert gpu_of(name)[1].startswith(remark)


def test_every_gpu_is_found_by_its_own_name():
    assert [gpu_of(kind.gpu.name)[0] for kind in KINDS] == [kind.gpu for kind in KINDS]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rtx9999", "rtx9999: unknown GPU; expected one of v100, "),
        ("hx100", "unknown GPU, did you mean h100?"),
        ("p100", "unknown GPU"),
        ("tesla", "unknown GPU"),
        ("rtx_6000", "which GPU is meant? Expected one of quadro_rtx_6000, a6000, rtx_6000_ada"),
        ("1g.10gb", "a slice of which GPU? Name it, e.g. a100_1g.10gb"),
    ],
)
def test_an_unknown_name_is_refused(name, told):
    with pytest.raises(UnknownGpu) as refused:
        gpu_of(name)
    assert told in str(refused.value)
    with pytest.raises(PlanError, match=r"--gpu .*--gpu-memory-gb"):
        choose_gpu(None, Options(gpu=name))


def test_an_unknown_type_of_the_site_and_an_assumed_speed_are_said():
    site = Site(gpu=Pool(gpu_model="volta", gpus_per_node=4))
    gpu, remark = choose_gpu(site, Options())
    assert gpu.memory_gib == 79.0
    assert remark.startswith("the site's type of GPU, volta, is not known: assumed to be an a100")
    gpu, remark = choose_gpu(None, Options(gpu="rtx9999", gpu_memory_gb=24))
    assert (gpu.name, gpu.memory_gib) == ("rtx9999", 24)
    assert remark == "rtx9999 is not known: assumed to be as fast as an a100"


def test_the_page_and_json_say_what_was_assumed(capsys):
    with pytest.raises(SystemExit):
        main(["plan", "--configfile", str(PRIME), "--gpu", "a100"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("8 x a100 (--gpu): 79 GiB, 312 TFLOP/s")
    assert lines[3].strip() == gpu_of("a100")[1]
    with pytest.raises(SystemExit):
        main(["plan", "--configfile", str(PRIME), "--gpu", "a100", "--json"])
    assert json.loads(capsys.readouterr().out)["remarks"] == [gpu_of("a100")[1]]


def test_gpus_without_bfloat16_cuda_or_one_another_are_refused_with_the_reason():
    def said(gpu, **changes):
        return "; ".join(planned(options=Options(gpu=gpu), **changes).problems)

    for gpu in ("v100", "rtx_2080_ti", "t4", "quadro_rtx_8000"):
        assert f"{gpu}: does not compute in bfloat16" in said(gpu)
        assert "bfloat16" not in said(gpu, model__dtype="float32")
    assert "v100: its compute capability is 7.0" in said("v100", model__dtype="float32")
    assert "t4: its compute capability" not in said("t4")
    assert "for ROCm" in said("mi250x")
    assert "a process sees one MIG slice alone" in said("h100_1g.10gb")
    for gpu in ("a30", "l40s", "h100_nvl"):
        assert not {"bfloat16", "capability", "ROCm", "MIG"} & set(said(gpu).split())


def test_float32_is_planned_with_its_own_speed():
    half, single = planned(), planned(model__dtype="float32")
    assert half.case.gpu.tflops == 312
    assert single.case.gpu.tflops == 19.5
    assert single.stages["policy"].seconds.compute > 10 * half.stages["policy"].seconds.compute

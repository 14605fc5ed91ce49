"""GPUs by the names that Slurm, nvidia-smi and people give them: memory, speed, what they lack.

In: a gres type or a product's name ("a100", "nvidia_h100_80gb_hbm3", "a100_1g.10gb"). Out: the
GPU, and a remark where the name leaves open which one is meant. A name that is not known is refused
(docs/decisions.md#unknown-gpus).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

USUAL = "a100"  # where no type is given: the paper's machines had these


@dataclass(frozen=True)
class Gpu:
    """memory_gib as nvidia-smi shows it; tflops dense; gb_per_s of its own memory.

    Where there is no bfloat16, tflops are float16's. capability: CUDA's compute capability, 0 where
    there is no CUDA. slices: of a MIG slice, how many of the GPU's; 0: a whole GPU.
    """

    name: str
    memory_gib: float
    tflops: float
    tflops_float32: float
    gb_per_s: float
    capability: float = 0.0
    slices: int = 0

    @property
    def has_bfloat16(self) -> bool:
        """Whether it computes in bfloat16: NVIDIA's from Ampere (8.0) on, AMD's CDNA."""
        return not 0 < self.capability < 8

    def for_dtype(self, dtype: str) -> Gpu:
        """The GPU with `tflops` of this type of numbers."""
        return replace(self, tflops=self.tflops_float32) if dtype == "float32" else self


# Of the builds of torch and vLLM that the project installs: CUDA 13 has dropped Volta.
OLDEST_CAPABILITY = 7.5
# Rough figures for the cores of one rank, where a site has no GPUs.
PROCESSORS = Gpu("processors", 0.0, 0.05, 0.05, 10)


class UnknownGpu(ValueError):
    """A name that fits no GPU of the table, or several different ones."""


@dataclass(frozen=True)
class Kind:
    """A row of the table. pattern: what of a name means this family; words: which of its variants.

    gb: the memory on the label.
    """

    gpu: Gpu
    pattern: str
    gb: int
    words: tuple[str, ...] = ()


def _kind(
    name: str,
    gb: int,
    gib: float,
    speeds: tuple[float, float, float],
    capability: float,
    pattern: str = "",
    words: tuple[str, ...] = (),
) -> Kind:
    return Kind(Gpu(name, gib, *speeds, capability), pattern or name, gb, words)


# Makers' data sheets: dense TFLOP/s of bfloat16 (float16 below capability 8) with sums in float32,
# of float32 without TF32, which torch does not use by itself, and GB/s. Memory is rounded down.
# GeForce's tensor cores add up in float32 at half their rate, and torch adds so. Of one pattern the
# first row is taken where a name does not say which.
KINDS = (
    _kind("v100", 32, 31.5, (125, 15.7, 900), 7.0, "v100s?"),
    _kind("v100_16", 16, 15.5, (125, 15.7, 900), 7.0, "v100s?"),
    _kind("titan_rtx", 24, 23.5, (130, 16.3, 672), 7.5, "titan_?rtx"),
    _kind("quadro_rtx_8000", 48, 44.5, (130, 16.3, 672), 7.5, "(quadro_?)?rtx_?8000"),
    _kind("quadro_rtx_6000", 24, 22.0, (130, 16.3, 672), 7.5, "quadro_?(rtx_?)?6000"),
    _kind("rtx_2080_ti", 11, 10.5, (54, 13.4, 616), 7.5, "(rtx_?)?2080_?ti"),
    _kind("t4", 16, 14.5, (65, 8.1, 320), 7.5),
    _kind("a100", 80, 79.0, (312, 19.5, 2039), 8.0),
    _kind("a100_40", 40, 39.5, (312, 19.5, 1555), 8.0, "a100"),
    _kind("a800", 80, 79.0, (312, 19.5, 2039), 8.0),
    _kind("a800_40", 40, 39.5, (312, 19.5, 1555), 8.0, "a800"),
    _kind("a30", 24, 23.5, (165, 10.3, 933), 8.0),
    _kind("a40", 48, 44.5, (150, 37.4, 696), 8.6),
    _kind("a10", 24, 22.0, (125, 31.2, 600), 8.6),
    _kind("a10g", 24, 22.0, (70, 31.5, 600), 8.6),
    _kind("a6000", 48, 47.5, (155, 38.7, 768), 8.6, "(rtx_?)?a6000"),
    _kind("a5000", 24, 23.5, (111, 27.8, 768), 8.6, "(rtx_?)?a5000"),
    _kind("a4000", 16, 15.5, (77, 19.2, 448), 8.6, "(rtx_?)?a4000"),
    _kind("rtx_3090", 24, 23.5, (71, 35.6, 936), 8.6, "(rtx_?)?3090(_?ti)?"),
    _kind("l40s", 48, 44.5, (362, 91.6, 864), 8.9),
    _kind("l40", 48, 44.5, (181, 90.5, 864), 8.9),
    _kind("l4", 24, 22.0, (121, 30.3, 300), 8.9),
    _kind("rtx_6000_ada", 48, 47.5, (364, 91.1, 960), 8.9, "(rtx_?)?6000_?ada"),
    _kind("rtx_4090", 24, 23.5, (165, 82.6, 1008), 8.9, "(rtx_?)?4090"),
    _kind("h100", 80, 79.0, (989, 67, 3350), 9.0, "h100", ("sxm", "sxm5", "hbm3")),
    _kind("h100_pcie", 80, 79.0, (756, 51, 2000), 9.0, "h100", ("pcie", "hbm2e")),
    _kind("h100_nvl", 94, 93.0, (835, 60, 3900), 9.0, "h100", ("nvl",)),
    _kind("h800", 80, 79.0, (989, 67, 3350), 9.0),
    _kind("h20", 96, 95.0, (148, 44, 4000), 9.0),
    _kind("h200", 141, 139.0, (989, 67, 4800), 9.0, "h200", ("sxm", "sxm5")),
    _kind("h200_nvl", 141, 139.0, (835, 60, 4800), 9.0, "h200", ("nvl",)),
    _kind("gh200", 96, 94.0, (989, 67, 4000), 9.0),
    _kind("gh200_144", 144, 140.0, (989, 67, 4900), 9.0, "gh200"),
    _kind("b200", 180, 178.0, (2250, 75, 8000), 10.0),
    _kind("gb200", 186, 184.0, (2500, 80, 8000), 10.0),
    _kind("rtx_5090", 32, 31.5, (210, 105, 1792), 12.0, "(rtx_?)?5090"),
    _kind("rtx_pro_6000", 96, 95.0, (504, 126, 1792), 12.0, "(rtx_?)?pro_?6000"),
    # One of a card's two GPUs, as Slurm and torch count them.
    _kind("mi250x", 64, 63.5, (191, 23.9, 1638), 0.0),
    _kind("mi250", 64, 63.5, (181, 22.6, 1638), 0.0),
    _kind("mi210", 64, 63.5, (181, 22.6, 1638), 0.0),
    _kind("mi300x", 192, 191.0, (1307, 163, 5300), 0.0),
    _kind("mi300a", 128, 127.0, (980, 122, 5300), 0.0),
)
# Names that fit products of different makes.
_UNCLEAR = {
    "(rtx_?)?6000": ("quadro_rtx_6000", "a6000", "rtx_6000_ada", "rtx_pro_6000"),
    "mi300": ("mi300x", "mi300a"),
}
_MAKERS = re.compile(r"^(?:(?:nvidia|tesla|geforce|amd|instinct|mig)_?)+")
_SLICE = re.compile(r"(?<![0-9])([1-7])g[._]?([0-9]+)(?:gb)?(?![0-9])")
# Memory slices that a profile has of the eight of a GPU; an A30 has four of each.
_MEMORY_SLICES = {1: 1, 2: 2, 3: 4, 4: 4, 7: 8}
# nvidia-smi shows 4.75 GiB of 5 GB, 9.6 of 10, 19.6 of 20.
_SLICE_SHARE = 0.95


def gpu_of(name: str) -> tuple[Gpu, str]:
    """The GPU of a name, and a remark ("" for none) where the name leaves open which one it is.

    Raises UnknownGpu naming those that are known.
    """
    plain = _MAKERS.sub("", re.sub(r"[^a-z0-9.]+", "_", name.lower()))
    part = _SLICE.search(plain)
    if part:
        plain = f"{plain[: part.start()]}_{plain[part.end() :]}".strip("_")
        if not plain:
            raise UnknownGpu(f"{name}: a slice of which GPU? Name it, e.g. a100_{part[0]}")
    kinds, rest = _family(plain, name)
    meant = _meant(kinds, rest)
    if part:
        return _slice(meant, int(part[1]), int(part[2])), ""
    gpu = meant[0].gpu
    label = re.search("([0-9]+)_?g", rest)
    if label and int(label[1]) not in {kind.gb for kind in kinds}:
        given = replace(gpu, name=f"{gpu.name}_{label[1]}", memory_gib=0.98 * int(label[1]))
        return given, f"{name}: {gpu.name} with the memory of the name"
    others = [_label(kind) for kind in meant[1:]]
    if not others:
        return gpu, ""
    return gpu, f"{name}: taken for {_label(meant[0])}, not {' or '.join(others)}"


def gpu_called(name: str) -> Gpu | None:
    """The GPU, or PROCESSORS, of exactly this name of the table, if any."""
    return next((g for g in (*(kind.gpu for kind in KINDS), PROCESSORS) if g.name == name), None)


def _label(kind: Kind) -> str:
    return f"{kind.gpu.name} ({kind.gb} GB, {kind.gpu.tflops:g} TFLOP/s)"


def _meant(kinds: Sequence[Kind], rest: str) -> Sequence[Kind]:
    """The variants of a family that fit what else a name says: its memory, its form."""
    sizes = {int(number) for number in re.findall("[0-9]+", rest)}
    kinds = [kind for kind in kinds if kind.gb in sizes] or kinds
    return [kind for kind in kinds if any(word in rest for word in kind.words)] or kinds


def _family(plain: str, name: str) -> tuple[Sequence[Kind], str]:
    """The rows whose pattern fits a name, and what the name says beside it."""
    found: dict[str, list[Kind]] = {}
    for kind in KINDS:
        if rest := _beside(kind.pattern, plain):
            found.setdefault(rest, []).append(kind)
    if found:
        # The least left over: "a6000" is more of "rtx_a6000" than nothing else.
        rest = min(found, key=len)
        return found[rest], rest
    for pattern, names in _UNCLEAR.items():
        if _beside(pattern, plain):
            raise UnknownGpu(f"{name}: which GPU is meant? Expected one of {', '.join(names)}")
    known = [kind.gpu.name for kind in KINDS]
    near = difflib.get_close_matches(plain, known, n=1, cutoff=0.8)
    raise UnknownGpu(
        f"{name}: unknown GPU{f', did you mean {near[0]}?' if near else ''}; expected one of "
        f"{', '.join(known)}, or a MIG slice of one, e.g. a100_1g.10gb"
    )


def _beside(pattern: str, plain: str) -> str:
    """What a name says beside a GPU's, as "_rest_"; "" where that is not in it."""
    form = "(?P<form>l|x|sxm[0-9]?|pcie|nvl)?"
    found = re.search(rf"(?<![a-z0-9])(?:{pattern}){form}(?![a-z0-9])", plain)
    if not found:
        return ""
    return f"_{plain[: found.start()]}_{found['form'] or ''}_{plain[found.end() :]}_"


def _slice(kinds: Sequence[Kind], slices: int, gb: int) -> Gpu:
    """A MIG slice: a share of the GPU's speed, the memory of its name."""

    def of_slice(kind: Kind) -> int:
        eighths = 2 * slices if kind.pattern == "a30" else _MEMORY_SLICES.get(slices, slices)
        return round(kind.gb * eighths / 8)

    # 1g.5gb is a slice of an A100 of 40 GB, 1g.10gb of one of 80.
    kind = next((kind for kind in kinds if of_slice(kind) == gb), kinds[0])
    whole, share = kind.gpu, slices / (4 if kind.pattern == "a30" else 7)
    return Gpu(
        f"{whole.name}_{slices}g.{gb}gb",
        round(_SLICE_SHARE * gb, 1),
        round(whole.tflops * share, 1),
        round(whole.tflops_float32 * share, 1),
        round(whole.gb_per_s * gb / kind.gb),
        whole.capability,
        slices,
    )

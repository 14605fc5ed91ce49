"""What a trial works on: a model that fits the GPUs, sequences, a folder like that of a run.

In: the GPU, the number of ranks. Out: a Trial, which each part reads from its folder.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, Qwen2Config

from prime_core.models.build import build_tokenizer
from prime_core.models.load import device, save_model
from prime_core.planning.activations import Pass
from prime_core.planning.case import DTYPE_BYTES
from prime_core.planning.gpus import Gpu, gpu_called
from prime_core.planning.hardware import GIB, Assumptions
from prime_core.planning.known_shapes import KNOWN
from prime_core.planning.measured import TINY
from prime_core.planning.memory import Training as PlannedTraining
from prime_core.planning.memory import training_memory
from prime_core.planning.shapes import ModelShape
from prime_core.run.layout import RunFiles
from prime_core.settings.reading import parse_settings
from prime_core.settings.run import Settings
from prime_core.training.batches import Sequences

FIRST_TOKEN = 6  # those before are special
SHAPES = {size: KNOWN[f"qwen2.5-{size}"] for size in ("7b", "3b", "1.5b", "0.5b")} | {
    TINY: ModelShape(
        vocab_size=512,
        hidden_size=64,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        head_dim=32,  # the narrowest that vLLM's CPU build supports
        intermediate_size=128,
        max_position=32768,
        tied=False,
        qkv_bias=True,
    )
}


class TooSmall(ValueError):
    """No model of the trial fits the GPUs."""


@dataclass(frozen=True)
class Work:
    """Sizes in tokens, responses and bytes.

    pass_tokens: of one pass of a rank. few, many: responses that are sampled side by side, the many
    after prompts of long_prompt. disk_bytes: of the file that measures the disk.
    """

    prompt_tokens: int = 256
    response_tokens: int = 768
    pass_tokens: int = 8192
    num_steps: int = 3
    few: int = 8
    many: int = 128
    long_prompt: int = 1536
    new_tokens: int = 96
    disk_bytes: int = 4 << 30


SMALL_WORK = Work(8, 24, 128, 2, 2, 8, 16, 8, 1 << 24)


@dataclass(frozen=True)
class Trial:
    """folder: of the trial; size: a key of SHAPES; gpu: a type that the plan knows."""

    folder: str
    size: str
    gpu: str
    memory_gib: float
    num_ranks: int
    dtype: str
    work: Work

    @property
    def shape(self) -> ModelShape:
        """The model's shape."""
        return SHAPES[self.size]

    @property
    def figures(self) -> Gpu:
        """What the plan takes this GPU to do at most."""
        gpu = gpu_called(self.gpu)
        assert gpu is not None, self.gpu
        return gpu.for_dtype(self.dtype)

    @property
    def files(self) -> RunFiles:
        """The folder as that of a run."""
        return RunFiles(Path(self.folder) / "trial")

    @property
    def rows_of_a_pass(self) -> int:
        """Sequences that one pass of a rank holds."""
        return self.work.pass_tokens // (self.work.prompt_tokens + self.work.response_tokens)

    @cached_property
    def sequences(self) -> Sequences:
        """A step's rows on every rank, for each step; all of the same length."""
        return self.random_rows(self.num_ranks * self.rows_of_a_pass * self.work.num_steps)

    def random_rows(self, number: int) -> Sequences:
        """Rows of random tokens, the same on every rank."""
        rng, tokens = random.Random(0), range(FIRST_TOKEN, self.shape.vocab_size)
        work = self.work
        return Sequences(
            [rng.choices(tokens, k=work.prompt_tokens) for _ in range(number)],
            [rng.choices(tokens, k=work.response_tokens) for _ in range(number)],
        )

    def settings(self, zero_stage: int, offload_optimizer: str = "none") -> Settings:
        """Settings of a run that trains as the parts do."""
        step = self.num_ranks * self.rows_of_a_pass
        values = {
            "run": "trial",
            "results": self.folder,
            "model.dtype": self.dtype,
            "training.zero_stage": zero_stage,
            "training.offload_optimizer": offload_optimizer,
            "training.gradient_checkpointing": True,
            "training.max_token_len_per_gpu": self.work.pass_tokens,
            "policy.ppo_mini_batch_size": step,
            "prm.mini_batch_size": step,
        }
        return parse_settings(values, "gpu trial")

    def write(self) -> None:
        """Leave it where parts, which are processes of their own, read it."""
        text = json.dumps(asdict(self))
        (Path(self.folder) / "trial.json").write_text(text, encoding="utf-8")


def read_trial(folder: Path) -> Trial:
    """The trial that was written there."""
    values = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    return Trial(**values | {"work": Work(**values["work"])})


def planned_bytes(
    shape: ModelShape, dtype: str, zero_stage: int, num_ranks: int, work: Work, *, entropy: bool
) -> float:
    """The plan's peak memory of one GPU in the trial's updates, reserve left out."""
    rows = work.pass_tokens // (work.prompt_tokens + work.response_tokens)
    one_pass = Pass(
        rows,
        work.prompt_tokens,
        work.response_tokens,
        DTYPE_BYTES[dtype],
        checkpointing=True,
        entropy=entropy,
        packed=True,
        chunk_tokens=parse_settings({}, "gpu trial").training.logprobs_chunk_size,
    )
    parts = training_memory(shape, PlannedTraining(zero_stage, num_ranks, one_pass))
    return sum(parts.values())


def fitting_size(memory_gib: float, dtype: str, num_ranks: int, work: Work) -> str:
    """The largest model that ZeRO 2 can train there, by the plan. Raises TooSmall."""
    allowed = (1 - Assumptions().reserve_share) * memory_gib * GIB
    sizes = [size for size in SHAPES if size != TINY]
    for size in sizes:
        if planned_bytes(SHAPES[size], dtype, 2, num_ranks, work, entropy=True) <= allowed:
            return size
    raise TooSmall(
        f"{num_ranks} x {memory_gib:.1f} GiB are too little to train {sizes[-1].upper()} "
        "parameters; --size tiny tries the parts on a small model"
    )


def built_model(shape: ModelShape, dtype: str, seed: int = 0) -> PreTrainedModel:
    """A Qwen2 of this shape with random weights, on the device."""
    config = Qwen2Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.max_position,
        tie_word_embeddings=shape.tied,
    )
    torch.manual_seed(seed)
    with torch.device(device()):  # drawing billions of numbers takes minutes on a core
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    return model.eval()


def save_built_model(trial: Trial) -> None:
    """Write the model as policy, PRM and reference of the trial's folder."""
    tokenizer, files = build_tokenizer(), trial.files
    model = built_model(trial.shape, trial.dtype)
    # The tokenizer's ends alone, so that a random response does not stop.
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    files.policy(0).mkdir(parents=True)
    save_model(model, tokenizer, files.policy(0))
    for link in (files.prm(0), files.reference):
        link.symlink_to(files.policy(0).name)

"""Memory of a GPU and of its node, stage by stage and part by part.

In: a shape, how the stage runs. Out: bytes by part, whose sum is the most that a rank holds at any
time. N parameters, R ranks; what DeepSpeed keeps was measured (tests repeat it):

    stage   weights   gradients   float32 copy   optimizer
    0       4 N       4 N         -              8 N
    1       d N       d N         4 N / R        8 N / R
    2       d N       g N / R     4 N / R        8 N / R        d: bytes of the training dtype
    3       d N / R   g N / R     4 N / R        8 N / R        g: of the sums of gradients

With sums of another dtype than the weights', stage 1 is computed as stage 2.

Where adapters of A parameters are trained instead, A takes the place of N, but weights are N + A.
"""

from __future__ import annotations

from dataclasses import dataclass

from prime_core.planning.activations import (
    FLOAT32,
    Pass,
    forward_bytes,
    kept_activations,
    work_bytes,
)
from prime_core.planning.hardware import GIB
from prime_core.planning.shapes import ModelShape

MOMENTS = 2 * FLOAT32  # AdamW's two, bytes a parameter
# DeepSpeed's defaults, in elements: reduce_bucket_size, a buffer for gradients on their way to the
# other ranks; stage3_max_live_parameters and stage3_prefetch_bucket_size, the weights that ZeRO-3
# gathers at a time.
BUCKET = 500_000_000
GATHERED = 1_050_000_000
# Stage 0 sums gradients over ranks in tensors of this many (MEMORY_OPT_ALLREDUCE_SIZE in
# DeepSpeed's engine); no setting changes that.
SUMMED = 500_000_000

# Bytes of a logit while a token is drawn (prime_core.samplers.transformers_generate): copies in
# float32, sums of probabilities in float64; six of them only with a temperature, top_k or top_p.
DRAWING = 34

# Parts in the order of tables. "loading or stepping" is what those moments need beyond a pass.
PARTS = (
    "weights",
    "gradients",
    "float32 copy",
    "optimizer states",
    "communication",
    "activations",
    "logits, or a layer",
    "key-value cache",
    "sampler's own",
    "loading or stepping",
    "reserve",
)
Memory = dict[str, float]


@dataclass(frozen=True)
class Training:
    """How a model is trained: total ranks, the largest pass of one.

    num_adapter: parameters of its adapters; 0: all weights are trained. float32_sums: gradients of
    several passes add up in float32, whatever the training dtype.
    """

    zero_stage: int
    num_ranks: int
    largest: Pass
    offload_optimizer: bool = False
    num_adapter: int = 0
    float32_sums: bool = True

    @property
    def sum_bytes(self) -> int:
        """Bytes of a number in the sums of gradients."""
        return FLOAT32 if self.float32_sums else self.largest.dtype_bytes

    @property
    def cuts_gradients(self) -> bool:
        """Whether a rank keeps its share of the gradients alone."""
        # docs/decisions.md#float32-sums
        return self.zero_stage >= 2 or (self.zero_stage == 1 and self.own_sums)

    @property
    def own_sums(self) -> bool:
        """Whether gradients add up in another dtype than that of the passes."""
        return self.sum_bytes != self.largest.dtype_bytes

    @property
    def gradients_leave(self) -> bool:
        """Whether gradients go to the host as they come."""
        # DeepSpeed keeps stage 2's float32 sums on the GPU until the step.
        stays = self.zero_stage < 3 and self.own_sums
        return self.offload_optimizer and self.cuts_gradients and not stays

    def weights_of(self, shape: ModelShape) -> int:
        """All parameters of the model, trained or not."""
        return shape.num_parameters + self.num_adapter

    def trained_of(self, shape: ModelShape) -> int:
        """The parameters that are trained."""
        return self.num_adapter or shape.num_parameters


def training_memory(shape: ModelShape, how: Training) -> Memory:
    """Bytes on one rank's GPU, reserve left out."""
    parts = resident_memory(shape, how)
    one_pass = how.largest
    parts |= {
        "communication": communication(shape, how),
        "activations": float(kept_activations(shape, one_pass)),
        "logits, or a layer": float(work_bytes(shape, one_pass)),
    }
    # A pass and the other two moments never coincide: what they need beyond it is one more row, so
    # that the rows of the table add up to the peak.
    passing = sum(parts.values())
    others = max(_stepping(shape, how, parts), _loading(shape, how))
    return parts | {"loading or stepping": max(0.0, others - passing)}


def resident_memory(shape: ModelShape, how: Training) -> Memory:
    """Bytes that stay on the GPU between passes, including the gradients of earlier passes."""
    whole, trained = float(how.weights_of(shape)), float(how.trained_of(shape))
    share = trained / how.num_ranks
    width = how.largest.dtype_bytes
    on_gpu = 0.0 if how.offload_optimizer else share
    # Below stage 2 every rank sums the gradients of all its passes whole until the step.
    gradients = how.sum_bytes * share if how.cuts_gradients else width * trained
    return {
        "weights": width * (whole / how.num_ranks if how.zero_stage == 3 else whole),
        "gradients": 0.0 if how.gradients_leave else gradients,
        # Stage 0 is refused in bfloat16, so its weights are float32 themselves and not copied.
        "float32 copy": FLOAT32 * on_gpu if how.zero_stage else 0.0,
        "optimizer states": MOMENTS * (on_gpu if how.zero_stage else trained),
    }


def communication(shape: ModelShape, how: Training) -> float:
    """DeepSpeed's buffers on a GPU, in bytes."""
    width = how.largest.dtype_bytes
    if how.zero_stage == 0:
        return float(width * min(how.trained_of(shape), SUMMED))
    gathered = min(how.weights_of(shape), GATHERED) if how.zero_stage == 3 else 0
    return float(width * (BUCKET + gathered))


def scoring_memory(shape: ModelShape, one_pass: Pass) -> Memory:
    """Bytes of a frozen model that scores: PRM and reference are loaded one after the other."""
    return {
        "weights": float(one_pass.dtype_bytes * shape.num_parameters),
        "logits, or a layer": float(forward_bytes(shape, one_pass)),
    }


def cache_bytes(shape: ModelShape, dtype_bytes: int, tensor_parallel_size: int) -> float:
    """Bytes of the key-value cache that one token takes on one GPU."""
    # More GPUs than key-value heads hold replicas: a head is not split.
    share = min(tensor_parallel_size, shape.num_kv_heads)
    return dtype_bytes * shape.cache_numbers_a_token / share


def vllm_memory(
    shape: ModelShape,
    dtype_bytes: int,
    tensor_parallel_size: int,
    allowed: float,
    own: float,
) -> Memory:
    """vLLM takes all that it is allowed (bytes): what weights and its overhead leave is cache."""
    weights = dtype_bytes * shape.num_parameters / tensor_parallel_size
    return {
        "weights": weights,
        "key-value cache": max(allowed - weights - own, 0.0),
        "sampler's own": own,
    }


def transformers_memory(
    shape: ModelShape, dtype_bytes: int, batch_size: int, num_prompt: int, num_tokens: int
) -> Memory:
    """Bytes of transformers' `generate`: its cache holds a whole batch at full length.

    num_prompt: tokens of the longest prompt; num_tokens: with its response.
    """
    a_token = cache_bytes(shape, dtype_bytes, 1)
    drawing = batch_size * shape.num_outputs * (dtype_bytes + DRAWING)
    # All prompts of a batch go through a layer at once, padded: their mask has a byte a pair. The
    # cache then has no responses yet.
    layer = 3 * shape.intermediate_size + 4 * shape.hidden_size + 2 * shape.head_dim
    prompts = batch_size * num_prompt * (dtype_bytes * layer + num_prompt)
    free = batch_size * (num_tokens - num_prompt) * a_token
    return {
        "weights": float(dtype_bytes * shape.num_parameters),
        "key-value cache": batch_size * num_tokens * a_token,
        "logits, or a layer": max(float(drawing), prompts - free),
    }


def training_host_memory(shape: ModelShape, how: Training, ranks_a_node: int, own: float) -> float:
    """Bytes of a node while its ranks load: each reads the whole weights and its share of state.

    own: bytes of a rank beside tensors. Off-loaded optimizer states stay on the host.
    """
    whole, trained = float(shape.num_parameters), float(how.trained_of(shape))
    width = how.largest.dtype_bytes
    if how.zero_stage == 0:
        read = (FLOAT32 + MOMENTS) * trained
    else:
        read = (FLOAT32 + MOMENTS) * trained / how.num_ranks
        # The complete weights in the state's common file, which each rank reads for itself.
        read += width * trained if how.zero_stage < 3 else 0.0
    # The larger, not both: the weights have left for the GPU before the state is read.
    return ranks_a_node * (max(width * whole, read) + offloaded_memory(shape, how) + own)


def offloaded_memory(shape: ModelShape, how: Training) -> float:
    """Bytes that a rank keeps on the host instead of its GPU.

    Float32 weights and their gradients, AdamW's moments; gradients as they come (where they leave
    the GPU) and, in the training dtype, weights on their way back (stages 1 and 2).
    """
    if not how.offload_optimizer:
        return 0.0
    numbers = 2 * FLOAT32 + MOMENTS
    numbers += how.sum_bytes if how.gradients_leave else 0
    numbers += how.largest.dtype_bytes if how.zero_stage < 3 else 0
    return float(numbers * how.trained_of(shape) / how.num_ranks)


def in_gib(parts: Memory) -> Memory:
    """Parts in GiB, from bytes."""
    return {name: number / GIB for name, number in parts.items()}


def _stepping(shape: ModelShape, how: Training, parts: Memory) -> float:
    """Bytes in an optimizer step: gradients in float32, and AdamW's temporaries.

    On a GPU torch takes the roots of all second moments at once (`foreach`), float32 as they are.
    """
    stays = sum(parts[name] for name in ("weights", "float32 copy", "optimizer states"))
    if how.zero_stage == 0:
        # By then the buffer of the gradients' sums over ranks has been given back.
        roots = float(FLOAT32 * how.trained_of(shape))
        return stays + parts["gradients"] + max(parts["communication"], roots)
    share = how.trained_of(shape) / how.num_ranks
    # Stages 1 and 2 give the gradients' place back once they are float32; stage 3 keeps it.
    stays += parts["gradients"] if how.zero_stage == 3 else 0.0
    stays += parts["communication"]
    # Float32 gradients and roots of a rank's share. Gradients that are float32 already are not
    # copied, and what ranks have exchanged lives on for a while: up to a share.
    shares = 2 + (how.largest.dtype_bytes == FLOAT32 and how.num_ranks > 1)
    return stays + (0.0 if how.offload_optimizer else shares * FLOAT32 * share)


def _loading(shape: ModelShape, how: Training) -> float:
    """Bytes before ZeRO-3 partitions the weights: whole on every GPU. Other stages peak later."""
    whole = float(how.largest.dtype_bytes * how.weights_of(shape))
    return whole * (1 + 1 / how.num_ranks) if how.zero_stage == 3 else 0.0

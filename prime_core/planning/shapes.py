"""The sizes of a language model, and how many parameters it has.

In: what a Hugging Face config.json says, a known name, or the sizes of a model built from scratch.
Out: a ModelShape. Llama-style decoders only: attention with grouped heads, a gated feed-forward
layer, RMS norms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prime_core.settings.run import BuildModel

# Tokens of a model built from scratch: one per byte, and build_tokenizer's special ones.
BUILT_VOCABULARY = 263


class PlanError(ValueError):
    """The model is unknown, or of a kind that cannot be planned."""


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder. Widths in elements, lengths in tokens.

    qkv_bias, output_bias, mlp_bias: which linear layers add a vector. qk_norm: norms of each
    head's query and key. scalar_head: one number per token in place of logits (a value model).
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    max_position: int
    tied: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    scalar_head: bool = False

    @property
    def query_width(self) -> int:
        """Width of all heads' queries of one token."""
        return self.num_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all heads' keys of one token, and of their values."""
        return self.num_kv_heads * self.head_dim

    @property
    def vocabulary_parameters(self) -> int:
        """Parameters of the embedding; as many again of the output layer, unless it is tied."""
        return self.vocab_size * self.hidden_size

    @property
    def num_outputs(self) -> int:
        """Outputs of the model for each token: logits, or a value."""
        return 1 if self.scalar_head else self.vocab_size

    @property
    def output_parameters(self) -> int:
        """Parameters of the output layer, tied or not; a value head has a bias."""
        return self.num_outputs * self.hidden_size + self.scalar_head

    @property
    def layer_parameters(self) -> int:
        """Parameters of one transformer layer."""
        hidden, query, kv, inner = (
            self.hidden_size,
            self.query_width,
            self.kv_width,
            self.intermediate_size,
        )
        attention = hidden * (2 * query + 2 * kv) + self.qkv_bias * (query + 2 * kv)
        attention += self.output_bias * hidden + self.qk_norm * 2 * self.head_dim
        feed_forward = 3 * hidden * inner + self.mlp_bias * (2 * inner + hidden)
        return attention + feed_forward + 2 * hidden

    @property
    def num_parameters(self) -> int:
        """All parameters, tied ones once."""
        # A value head is a layer of its own even where the language model's output was tied.
        own = 0 if self.tied and not self.scalar_head else self.output_parameters
        ends = self.vocabulary_parameters + own + self.hidden_size
        return self.num_layers * self.layer_parameters + ends

    @property
    def cache_numbers_a_token(self) -> int:
        """Numbers that the key-value cache holds of one token."""
        return 2 * self.num_layers * self.kv_width


def built_shape(build: BuildModel) -> ModelShape:
    """The small Qwen2 that `prime build` builds."""
    return ModelShape(
        vocab_size=BUILT_VOCABULARY,
        hidden_size=build.hidden_size,
        num_layers=build.num_layers,
        num_heads=build.num_heads,
        num_kv_heads=build.num_heads,
        head_dim=build.hidden_size // build.num_heads,
        intermediate_size=build.intermediate_size,
        max_position=build.max_position,
        tied=True,
        qkv_bias=True,
    )


def shape_from_config(config: Mapping[str, Any], source: str) -> ModelShape:
    """The shape that a config.json describes.

    Raises PlanError naming `source` for another kind of model, or a size that is missing.
    """
    kind = config.get("model_type")
    if kind not in ("llama", "mistral", "qwen2", "qwen3"):
        raise PlanError(
            f"{source}: model_type {kind!r} cannot be planned, expected llama, mistral, qwen2 or "
            "qwen3; give a similar size with --model-size"
        )
    # null means that transformers' own default counts, which the file does not say.
    config = {key: value for key, value in config.items() if value is not None}
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        bias = bool(config.get("attention_bias", False))
        return ModelShape(
            vocab_size=int(config["vocab_size"]),
            hidden_size=hidden,
            num_layers=int(config["num_hidden_layers"]),
            num_heads=heads,
            # Configurations from before grouped heads lack the key; null stands for the default,
            # too.
            num_kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            intermediate_size=int(config["intermediate_size"]),
            max_position=int(config["max_position_embeddings"]),
            tied=bool(config.get("tie_word_embeddings", False)),
            # transformers' code decides, not the file: Qwen2 always has these three, Mistral never;
            # attention_bias of Llama and Qwen3 means the output projection as well.
            qkv_bias=kind == "qwen2" or (kind != "mistral" and bias),
            output_bias=kind in ("llama", "qwen3") and bias,
            mlp_bias=kind == "llama" and bool(config.get("mlp_bias", False)),
            qk_norm=kind == "qwen3",
        )
    except KeyError as missing:
        raise PlanError(f"{source}: {missing.args[0]} is missing, or null") from None
    except (TypeError, ValueError) as error:
        raise PlanError(f"{source}: a size is not a number: {error}") from None

"""GGUF files of models as small as they get, written as llama.cpp's converter writes them."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from prime_core.models.gguf import PRE_TOKENIZERS

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = [("Ċ", "Ċ"), ("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("Ġ", "Ġ")]
TOKENS = [*SPECIAL, *sorted(ByteLevel.alphabet()), *(left + right for left, right in MERGES)]
END = TOKENS.index("<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SIZES: dict[str, Any] = {
    "vocab_size": len(TOKENS),
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 50000.0},
}


def small_model(architecture: str, tied: bool = True) -> PreTrainedModel:
    """Random weights, norms and biases among them, of each kind that GGUF files may hold."""
    classes = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    }
    config, model = classes[architecture]
    width = {"head_dim": 32} if architecture == "qwen3" else {}
    torch.manual_seed(0)
    made = model(config(**SIZES, **width, tie_word_embeddings=tied))
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.rand_like(parameter))
    return made.eval()


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    architecture: str,
    pre_tokenizer: str | None = None,
    quantization: gguf.GGMLQuantizationType | None = None,
) -> Path:
    """The model and the tokenizer above as one file.

    pre_tokenizer: None for the usual one; quantization: of all matrices.
    """
    writer = gguf.GGUFWriter(path, architecture)
    _write_sizes(writer, model)
    _write_tokenizer(writer, pre_tokenizer or PRE_TOKENIZERS[architecture])
    names = gguf.get_tensor_name_map(_number(architecture), model.config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        values = weight.numpy()
        if architecture == "llama" and ("q_proj" in name or "k_proj" in name):
            values = _interleaved(values, model.config, "k_proj" in name)
        own_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert own_name is not None
        if quantization is None or values.ndim == 1:
            writer.add_tensor(own_name, values)
        else:
            blocks = gguf.quants.quantize(values, quantization)
            writer.add_tensor(own_name, blocks, raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _number(architecture: str) -> gguf.MODEL_ARCH:
    return {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]


def _write_sizes(writer: gguf.GGUFWriter, model: PreTrainedModel) -> None:
    config: Any = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if getattr(config, "head_dim", None):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)


def _write_tokenizer(writer: gguf.GGUFWriter, pre_tokenizer: str) -> None:
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list(TOKENS)
    writer.add_token_types([control if token in SPECIAL else normal for token in TOKENS])
    writer.add_token_merges([" ".join(merge) for merge in MERGES])
    writer.add_bos_token_id(TOKENS.index("<|im_start|>"))
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(TOKENS.index("<|endoftext|>"))
    writer.add_pad_token_id(END)
    writer.add_chat_template(CHAT_TEMPLATE)


def _interleaved(weight: np.ndarray, config: Any, of_keys: bool) -> np.ndarray:
    """Rows in llama.cpp's order: the two halves of each head, one row of each in turn."""
    heads = config.num_key_value_heads if of_keys else config.num_attention_heads
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))

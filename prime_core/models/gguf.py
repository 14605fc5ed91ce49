"""A GGUF file as an ordinary model and tokenizer, to be saved as a Hugging Face folder.

Quantised weights are dequantised. Sources: the file format as llama.cpp writes it; transformers'
conversion, which knows the weights of each architecture but not how every tokenizer splits a text.

docs/decisions.md#gguf-once
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from prime_core.models.load import ModelError
from prime_core.storage.gguf_files import GgufError, GgufHeader, read_header

# Those that are known to survive saving and loading: AutoTokenizer rebuilds Qwen's in its own way.
PRE_TOKENIZERS = {"llama": "smollm", "qwen2": "qwen2", "qwen3": "qwen2"}


def load_gguf(path: Path, dtype: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a GGUF file.

    Raises ModelError naming the file: missing, cut short, of an architecture or with a tokenizer
    that is not known.
    """
    try:
        header = read_header(path)
    except GgufError as error:
        raise ModelError(str(error)) from None
    tokenizer = _tokenizer(path, header)
    model = _model(path, header, dtype)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model, tokenizer


def _model(path: Path, header: GgufHeader, dtype: str) -> PreTrainedModel:
    """A fresh model with the file's weights: the loaded one would be saved as quantised."""
    number = getattr(torch, dtype)
    # transformers does not read every size: the width of a head may be that of another model.
    sizes = {key: value for key, value in header.config.items() if key != "model_type"}
    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name, **sizes)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        config=config,
        dtype=number,
        output_loading_info=True,
    )
    model, loading = loaded
    if loading["missing_keys"]:  # transformers would continue with random ones
        raise ModelError(f"{path}: weights {sorted(loading['missing_keys'])[:3]} are missing")
    fresh = AutoModelForCausalLM.from_config(config, dtype=number)
    fresh.load_state_dict(model.state_dict())
    return fresh.eval()


def _tokenizer(path: Path, header: GgufHeader) -> PreTrainedTokenizerBase:
    """The tokenizer as a generic class: the classes that models name rebuild what they are given.

    It then is its tokenizer.json, whatever the model beside it.
    """
    loaded = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    backend: Tokenizer = loaded.backend_tokenizer
    backend.pre_tokenizer = _splitting(path, header, backend.pre_tokenizer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=loaded.bos_token,
        eos_token=loaded.eos_token,
        unk_token=loaded.unk_token,
        pad_token=loaded.pad_token,
        chat_template=loaded.chat_template,
        padding_side="left",
        # Decoding must return the text as it was: the clean-up removes spaces before punctuation.
        clean_up_tokenization_spaces=False,
    )


def _splitting(path: Path, header: GgufHeader, converted: PreTokenizer) -> PreTokenizer:
    """How a text is split before merges, which a GGUF file only names.

    smollm: each digit by itself, as that tokenizer was trained; transformers uses GPT-2's way for
    every name that it does not know, and then a line break before "1." has other tokens than the
    model has learned. Raises ModelError for names that are not known here.
    """
    expected = PRE_TOKENIZERS[header.architecture]
    if (header.tokenizer, header.pre_tokenizer) != ("gpt2", expected):
        raise ModelError(
            f"{path}: how its tokenizer splits a text ('{header.tokenizer}', "
            f"'{header.pre_tokenizer}') is not known; expected ('gpt2', '{expected}') with "
            f"architecture {header.architecture}. Use the model's Hugging Face folder or hub id"
        )
    if expected == "smollm":
        return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    return converted

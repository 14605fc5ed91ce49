"""Models in one GGUF file: whether it is complete, and its header.

In: the path of a .gguf file, as llama.cpp's tools write it. Out: its header. Nothing here loads a
model; `prime_core.models.gguf` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Architectures for which the tests compare a loaded model weight by weight.
ARCHITECTURES = ("llama", "qwen2", "qwen3")
# Keys of a Hugging Face config.json, and the file's own below "<architecture>.".
_SIZES = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "max_position_embeddings": "context_length",
}


class GgufError(ValueError):
    """A GGUF file is missing, damaged or of a kind that is not known."""


@dataclass(frozen=True)
class GgufHeader:
    """What a file says of its model.

    config: sizes by the keys of a config.json. tokenizer: its kind, "gpt2" for byte-level BPE;
    pre_tokenizer: name of the way in which it splits a text before that.
    """

    architecture: str
    config: Mapping[str, Any]
    tokenizer: str
    pre_tokenizer: str


def is_gguf(path: str) -> bool:
    """Whether a model's path names a GGUF file."""
    return path.endswith(".gguf")


def read_header(path: Path) -> GgufHeader:
    """The header of a file that holds all its tensors, as far as sizes tell.

    Raises GgufError naming the file.
    """
    from gguf import GGUFReader

    if not path.is_file():
        raise GgufError(f"{path}: no such file")
    if path.open("rb").read(4) != b"GGUF":
        raise GgufError(f"{path}: not a GGUF file")
    try:
        reader = GGUFReader(path)
    # The package has no exceptions of its own: this is what its reader runs into in a torn file.
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError):
        raise GgufError(f"{path}: cut short or damaged") from None
    fields = reader.fields

    def value(key: str) -> Any:
        return fields[key].contents() if key in fields else None

    architecture = str(value("general.architecture"))
    if architecture not in ARCHITECTURES:
        raise GgufError(
            f"{path}: architecture '{architecture}' is not supported; expected one of "
            f"{', '.join(ARCHITECTURES)}"
        )
    sizes = {key: value(f"{architecture}.{own}") for key, own in _SIZES.items()}
    vocabulary = fields.get("tokenizer.ggml.tokens")
    config = {
        "model_type": architecture,
        "vocab_size": len(vocabulary.data) if vocabulary else None,
        # llama.cpp's converter writes no output layer where the embedding serves as one.
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in reader.tensors),
        **sizes,
    }
    return GgufHeader(
        architecture=architecture,
        config={key: size for key, size in config.items() if size is not None},
        tokenizer=str(value("tokenizer.ggml.model")),
        pre_tokenizer=str(value("tokenizer.ggml.pre")),
    )

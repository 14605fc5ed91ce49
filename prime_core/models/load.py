"""Loading and saving Hugging Face models and tokenizers, with errors that name the folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

if not torch.cuda.is_available():  # before transformers imports DeepSpeed, which would warn
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from prime_core.run.records import RECORD
from prime_core.runtime.hidden_modules import hidden
from prime_core.storage import hub, node_cache

transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()


class ModelError(ValueError):
    """A model or tokenizer is missing or cannot be used."""


def device() -> torch.device:
    """The accelerator of this rank, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def load_model(path: str | Path, dtype: str) -> PreTrainedModel:
    """A causal LM from a folder or hub id, in evaluation mode (no dropout).

    Raises ModelError naming the path.
    """
    try:
        with node_cache.cached_copy(path) as source:
            config = load_config(source)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=getattr(torch, dtype),
                output_loading_info=True,
                attn_implementation=attention(config),
                trust_remote_code=False,
            )
        model, loading = loaded
        if loading["missing_keys"]:  # transformers would continue with random ones
            raise ValueError(f"weights {sorted(loading['missing_keys'])[:3]} are missing")
    # Between them: an absent file, an unknown kind, weights of other sizes, a truncated file.
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(_reason(path, "causal language model", error)) from None
    return model.to(device()).eval()


def load_config(path: str | Path) -> PretrainedConfig:
    """The configuration of a folder or hub id; raises what transformers raises."""
    # Said each time: unset, transformers would ask on a terminal whether to run a model's code.
    return AutoConfig.from_pretrained(path, trust_remote_code=False)


def attention(config: PretrainedConfig) -> str | None:
    """The kind of attention that computes the model as configured; None: transformers' choice.

    Only the eager kind caps attention scores (Gemma 2): torch's, which transformers would take,
    drops the cap without a word.
    """
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return "eager" if capped else None


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """A tokenizer with an EOS token, padding on the left.

    Raises ModelError naming the path; also for a tokenizer without EOS, whose responses would
    never end.
    """
    try:
        # Generation continues a row at its right end, where padding would come between.
        tokenizer = AutoTokenizer.from_pretrained(
            path, padding_side="left", trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ModelError(_reason(path, "tokenizer", error)) from None
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"{path}: the tokenizer has no EOS token, so no response could end; "
            "set eos_token in its tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:  # any token will do: padding is always masked
        tokenizer.pad_token_id = tokenizer.eos_token_id
    return tokenizer


def check_same_tokens(path: str | Path, other: str | Path) -> None:
    """Raise ModelError unless every token id means the same to two models.

    Only then can both score one response's tokens.
    """
    ours, theirs = (load_tokenizer(folder).get_vocab() for folder in (path, other))
    if ours == theirs:
        return
    # min, since sets have no order, and an error should read the same each time.
    different = min(token for token, _ in ours.items() ^ theirs.items())
    raise ModelError(
        f"{path}: its tokenizer is not that of {other}: token {different!r} is "
        f"{ours.get(different, 'unknown')} here and {theirs.get(different, 'unknown')} there, and "
        "both are given the same token ids"
    )


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write an ordinary Hugging Face folder: safetensors, configuration, tokenizer.

    weights: the whole weights, where the model itself holds only parts of them.
    """
    # transformers looks whether the model is one of DeepSpeed's, and imports it to know.
    with hidden("deepspeed"):
        model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)


def find_model(path: str) -> Path:
    """Folder of a model: the local folder itself, or the hub's copy, fetched where needed.

    Raises ModelError naming the path.
    """
    if Path(path).is_dir():
        return Path(path).resolve()
    if not hub.is_hub_id(path):
        raise ModelError(f"{path}: no such folder; expected a Hugging Face model")
    try:
        return hub.model_folder(path)
    except hub.HubError as error:
        raise ModelError(str(error)) from None


def link_model(source: Path, folder: Path) -> None:
    """Fill a folder with links to a model's files (not to the training state beside them)."""
    # Links: the same weights are in up to four folders of a run, and nothing writes into them.
    for file in sorted(source.iterdir()):
        # Another run's record would not be true of the links.
        if file.is_file() and not file.name.startswith(".") and file.name != RECORD:
            (folder / file.name).symlink_to(file.resolve())


def eos_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """All tokens that end a response: the tokenizer's EOS and those of the generation settings."""
    return _ends(model.generation_config, tokenizer)


def saved_eos_token_ids(path: str | Path, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """`eos_token_ids` of a folder, without loading the model. Raises ModelError naming the path."""
    try:
        if (Path(path) / "generation_config.json").exists():
            config = GenerationConfig.from_pretrained(path)
        else:
            # What transformers itself falls back on when it loads such a model.
            config = GenerationConfig.from_model_config(load_config(path))
    except (OSError, ValueError) as error:
        raise ModelError(_reason(path, "causal language model", error)) from None
    return _ends(config, tokenizer)


def _ends(config: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    # Chat models often end a turn with one token and a text with another; the tokenizer names one
    # of them, the generation settings both.
    configured = config.eos_token_id if config else None
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({token for token in (*ids, tokenizer.eos_token_id) if token is not None})


def first_line(error: Exception) -> str:
    """One sentence for an error of transformers: its first line, or what is to be done."""
    if "trust_remote_code" in str(error):
        return (
            "it needs Python code of its own (auto_map in its configuration), which is never "
            "executed here: there is no setting for trust_remote_code; expected a model that "
            "transformers has a class for"
        )
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _reason(path: str | Path, kind: str, error: Exception) -> str:
    if not Path(path).exists():
        return f"{path}: no such folder; expected a Hugging Face {kind}"
    return f"{path}: not loadable as a {kind}: {first_line(error)}"

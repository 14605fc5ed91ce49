"""A small Qwen2 model with random weights and its tokenizer, for runs without a downloaded model.

In: sizes and a seed. Out: objects of transformers; once saved with `save_pretrained` they are an
ordinary Hugging Face folder, and nothing later knows that they were built here.
"""

from __future__ import annotations

import torch
from tokenizers import AddedToken
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
)

PAD, EOS, UNKNOWN = "<|pad|>", "<|end|>", "<|unknown|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
BOXED = r"\boxed{"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    r"""One token per byte (so any text has tokens), one per role, and one for ``\boxed{``.

    It is a Qwen2Tokenizer without merges: AutoTokenizer picks the class by the model beside it and
    would rebuild any other kind of tokenizer as this one.
    """
    # Sorted: alphabet() has another order in each process, and ids must be the same in all.
    tokens = [PAD, EOS, UNKNOWN, *ROLES, *sorted(ByteLevel.alphabet())]
    tokenizer = Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[],
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    # Not a special token, which decoding for the verifier would leave out.
    tokenizer.add_tokens([AddedToken(BOXED, normalized=False)])
    return tokenizer


def build_model(
    tokenizer: PreTrainedTokenizerFast,
    *,
    num_layers: int,
    hidden_size: int,
    num_heads: int,
    intermediate_size: int,
    max_position: int,
    initializer_range: float,
    seed: int,
) -> Qwen2ForCausalLM:
    """Random float32 weights from the seed; the global random state is restored.

    initializer_range: standard deviation of the weights. The usual 0.02 suits wide models: a
    narrow one learns several times faster from 0.05 to 0.1.
    """
    if hidden_size % (2 * num_heads):
        raise ValueError(
            f"hidden_size = {hidden_size}, num_heads = {num_heads}: "
            "expected heads of one even width (rotary positions rotate pairs)"
        )
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        intermediate_size=intermediate_size,
        max_position_embeddings=max_position,
        initializer_range=initializer_range,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model.eval()

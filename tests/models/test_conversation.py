"""Tokens of observations: the chat template's difference, whatever the policy said before."""

from pathlib import Path

import pytest

from prime_core.models.build import build_tokenizer
from prime_core.models.conversation import ObservationTokens
from prime_core.models.load import ModelError, load_tokenizer
from tests.support.tiny_model import save_tiny_model

# As Qwen's, and one that forgets the thoughts of earlier turns: the answer's words change.
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REWRITING = (
    "{% for m in messages %}[{{ m['role'] }}]{% if loop.last or m['role'] == 'user' %}"
    "{{ m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
COUNTING = "{{ messages | length }}" + CHATML


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


def test_what_follows_a_turn_is_its_end_the_observation_and_the_next_turn(folder):
    tokenizer = load_tokenizer(folder)
    observed = ObservationTokens(tokenizer, folder)
    end = tokenizer.eos_token_id
    cut = tokenizer("left")["input_ids"]
    whole = tokenizer.apply_chat_template(
        [
            {"role": "user", "content": "0"},
            {"role": "assistant", "content": "left"},
            {"role": "user", "content": "4 é"},
        ],
        add_generation_prompt=True,
        tokenize=False,
    )
    asked = tokenizer("<|user|>0<|assistant|>")["input_ids"]
    for turn in (cut, [*cut, end]):
        tokens = [*asked, *turn, *observed.after(turn, "4 é")]
        assert tokenizer.decode(tokens) == whole


def test_templates_are_refused_that_are_not_append_only(folder):
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHATML
    text = tokenizer.decode(ObservationTokens(tokenizer, folder).after([9], "7"))
    assert text == "<|im_end|>\n<|im_start|>user\n7<|im_end|>\n<|im_start|>assistant\n"
    for template in (REWRITING, COUNTING):
        tokenizer.chat_template = template
        with pytest.raises(ModelError, match=f"{folder}: its chat template is not append-only"):
            ObservationTokens(tokenizer, folder)
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="it has no chat template"):
        ObservationTokens(tokenizer, folder)

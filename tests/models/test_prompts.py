"""Conversations as tokens: where templates refuse, where tokenizers append, how answers end."""

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import GenerationConfig

from prime_core.models.load import load_tokenizer
from prime_core.models.prompts import PromptRefused, end_of_answer, prompt_lengths, prompt_tokens

USER = [{"role": "user", "content": "1+2=?"}]
SYSTEM = [{"role": "system", "content": "Think."}, *USER]
# As Gemma's: no system message, and roles that take turns.
STRICT = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
DEAF = (
    "{% for m in messages if m['role'] == 'user' %}{{ '<|user|>' + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.fixture
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model)


@pytest.mark.parametrize(
    ("template", "words"),
    [(STRICT, "refuses it: System role not supported"), (DEAF, "leaves its system message out")],
    ids=["refuses", "leaves out"],
)
def test_a_template_without_system_messages_is_named_with_what_to_do(template, words, tokenizer):
    tokenizer.chat_template = template
    assert tokenizer.decode(prompt_tokens(tokenizer, USER)) == "<|user|>1+2=?<|assistant|>"
    with pytest.raises(PromptRefused) as caught:
        prompt_tokens(tokenizer, SYSTEM)
    message = str(caught.value)
    assert "\n" not in message
    assert "a conversation of system, user ('1+2=?')" in message
    assert words in message
    assert "data.system_role: merge" in message
    one, other = prompt_lengths(tokenizer, [SYSTEM, USER])
    assert isinstance(one, PromptRefused)
    assert other == len(prompt_tokens(tokenizer, USER))


def test_roles_that_a_template_refuses_are_named_without_advice_on_system_messages(tokenizer):
    tokenizer.chat_template = STRICT
    with pytest.raises(PromptRefused, match=r"of user, user .* Roles must alternate$"):
        prompt_tokens(tokenizer, [*USER, *USER])


@pytest.mark.parametrize("number", [1, 2])
def test_an_eos_that_the_tokenizer_appends_does_not_end_a_prompt(number, tokenizer):
    tokenizer.chat_template = None
    plain = prompt_tokens(tokenizer, USER)
    eos = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=" ".join(["$A", *[eos] * number]),
        special_tokens=[(eos, tokenizer.eos_token_id)],
    )
    assert tokenizer("1")["input_ids"][-1] == tokenizer.eos_token_id
    assert prompt_tokens(tokenizer, USER) == plain
    assert prompt_lengths(tokenizer, [USER, USER]) == [len(plain)] * 2


def test_an_answer_ends_as_the_template_has_it_where_responses_end_so(tokenizer, tmp_path):
    turn = "<|unknown|>"  # stands for <end_of_turn>
    tokenizer.chat_template = tokenizer.chat_template.replace("eos_token", f"'{turn}\\n'")
    turn_id, eos = tokenizer.convert_tokens_to_ids(turn), tokenizer.eos_token_id
    GenerationConfig(eos_token_id=[eos, turn_id]).save_pretrained(tmp_path)
    assert end_of_answer(tokenizer, tmp_path) == turn_id
    GenerationConfig(eos_token_id=eos).save_pretrained(tmp_path)
    assert end_of_answer(tokenizer, tmp_path) == eos  # responses do not end at the other
    tokenizer.chat_template = None
    assert end_of_answer(tokenizer, tmp_path) == eos

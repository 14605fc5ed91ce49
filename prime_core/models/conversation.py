"""An environment's observation as tokens behind the policy's turn.

In: a tokenizer with a chat template. Out: the tokens that follow a turn: its end, the observation
as the user's message, and the beginning of the next turn. They are the template's difference: of a
fixed conversation with and without the message, never of the whole conversation encoded again, in
which the policy's own tokens might become others.

docs/decisions.md#observation-tokens
"""

from __future__ import annotations

from pathlib import Path

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from prime_core.models.load import ModelError, first_line, saved_eos_token_ids
from prime_core.models.prompts import end_of_answer

Messages = list[dict[str, str]]
_ASKED: Messages = [{"role": "user", "content": "0"}]
_ANSWER = "0"
_ANSWERED: Messages = [*_ASKED, {"role": "assistant", "content": _ANSWER}]


class ObservationTokens:
    """The tokens of observations under one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
        """folder: of the model. Raises ModelError where the chat template is not append-only."""
        self.tokenizer = tokenizer
        self.name = str(folder)
        if not tokenizer.chat_template:
            raise ModelError(
                f"{self.name}: it has no chat template, and an environment's observations are "
                "messages of a conversation; choose a model with one"
            )
        self._begin = self._render(_ASKED) + _ANSWER
        self.end = end_of_answer(tokenizer, folder)
        # A model may end its turn by another token than the template writes.
        self._ends = {self.end, *saved_eos_token_ids(folder, tokenizer)}
        self._refuse_other_templates()

    def after(self, turn: list[int], observation: str) -> list[int]:
        """What follows the tokens of a turn: [T], ready for the next turn.

        A turn that ended itself is not ended again.
        """
        text = self._render([*_ANSWERED, {"role": "user", "content": observation}])
        tokens = self.tokenizer(text[len(self._begin) :], add_special_tokens=False)["input_ids"]
        if turn and tokens and tokens[0] == self.end and turn[-1] in self._ends:
            return list(tokens[1:])
        return list(tokens)

    def _render(self, messages: Messages) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            )
        except TemplateError as error:
            reason = f"its chat template refuses it: {first_line(error)}"
            raise ModelError(f"{self.name}: a conversation of several turns: {reason}") from None
        return str(text)

    def _refuse_other_templates(self) -> None:
        """What has been said must stay as it was when more is said."""
        begin, said = self._begin, [*_ANSWERED, *_ASKED]
        two = self._render(said)
        three = self._render([*said, {"role": "assistant", "content": _ANSWER}, *_ASKED])
        if not two.startswith(begin) or not three.startswith(two + _ANSWER):
            raise ModelError(
                f"{self.name}: its chat template is not append-only: behind further messages it "
                "writes the earlier ones otherwise, so a turn would be trained on in another "
                "context than it was sampled in; choose a model with another template"
            )

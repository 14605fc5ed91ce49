"""Settings of a run's environment (`data.env`), one section of `prime_core.settings.data`."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, field_validator, model_validator

from prime_core.settings.section import Section


class Env(Section):
    """An environment that the policy acts in: each response is an episode of several turns."""

    id: str = Field(
        min_length=1,
        description="FILE.py:NAME or package.module:NAME of your own, called with kwargs; or an "
        "installed one: a toy_text environment of gymnasium (FrozenLake-v1), gem:game:Sokoban-v0-"
        "easy, reasoning_gym:chain_sum, textworld_express:coin.",
    )
    kwargs: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of what makes the environment."
    )
    max_turns: int = Field(10, ge=1, description="Turns of an episode at most.")
    max_turn_length: int = Field(
        512,
        ge=1,
        description="Tokens of a turn at most; rollout.max_response_length bounds the whole "
        "episode, observations included.",
    )
    num_train: int = Field(1000, ge=1, description="Training problems, each another seed.")
    num_validation: int = Field(100, ge=1, description="Held-out problems, likewise.")
    invalid_action_penalty: float = Field(
        0.0,
        ge=0,
        description="What a turn's reward is less where the environment says that it could not "
        "take the action. iStar: 0.1.",
    )
    success_threshold: float = Field(
        0.5, description="An episode is solved if its last reward is above this."
    )
    demonstrator: str | None = Field(
        None,
        pattern=r"^.+:[A-Za-z_][A-Za-z0-9_]*$",
        description="FILE.py:NAME or package.module:NAME, a scripted policy, (observation, "
        "random.Random) -> action, whose turns are the demonstrations of the SFT warm-up; null: "
        "none.",
    )
    num_demonstrations: int = Field(
        0, ge=0, description="Episodes that the demonstrator plays; each turn is a demonstration."
    )

    @field_validator("kwargs")
    @classmethod
    def _are_json(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected values that JSON has: {error}") from None
        return value

    @model_validator(mode="after")
    def _demonstrations_are_played(self) -> Env:
        if (self.demonstrator is None) != (self.num_demonstrations == 0):
            raise ValueError(
                f"demonstrator {self.demonstrator!r} and num_demonstrations "
                f"{self.num_demonstrations}: set both, or neither"
            )
        return self

"""Time and memory of returns and losses at 1,024 x 3,072 tokens, beside TRL's and verl's.

    python -m benchmarks.library_speed                       # this project alone
    PYTHON_OF_TRL_AND_VERL -m benchmarks.library_speed       # theirs as well, where importable
    python -m benchmarks.library_speed --responses 128

One process, one thread, the same tensors for all. Each line: median seconds of three calls, the
largest memory that the call added to the process, and both relative to this project's function of
the same purpose. `python -m benchmarks.library_loops` makes an environment with TRL and verl.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from prime_core.api import policy_loss, prime_advantages, prm_loss

NUM_SAMPLES = 4  # responses to a prompt
CALLS = 3
_PAGE_MIB = 4096 / 2**20


@dataclass(frozen=True)
class Case:
    """What is computed, by whom; the first of a purpose is this project's."""

    purpose: str
    whose: str
    call: Callable[[], object]


@dataclass(frozen=True)
class Inputs:
    """B responses of up to T tokens, ragged."""

    logprobs: Tensor
    old_logprobs: Tensor
    rewards: Tensor
    advantages: Tensor
    mask: Tensor
    outcome: Tensor
    group: Tensor


def inputs(num_responses: int, length: int) -> Inputs:
    """Random numbers of a fixed seed."""
    generator = torch.Generator().manual_seed(0)

    def matrix() -> Tensor:
        return torch.randn(num_responses, length, generator=generator)

    lengths = torch.randint(length // 4, length + 1, (num_responses, 1), generator=generator)
    old = -matrix().abs()
    return Inputs(
        logprobs=old + 0.05 * matrix(),
        old_logprobs=old,
        rewards=0.01 * matrix(),
        advantages=matrix(),
        mask=torch.arange(length) < lengths,
        outcome=torch.randint(2, (num_responses,), generator=generator).float(),
        group=torch.arange(num_responses) // NUM_SAMPLES,
    )


def ours(x: Inputs) -> list[Case]:
    """This project's functions."""

    def backward(loss_of: Callable[[Tensor], Tensor]) -> Tensor:
        logprobs = x.logprobs.clone().requires_grad_()
        loss_of(logprobs).backward()
        assert logprobs.grad is not None
        return logprobs.grad

    def clipped() -> Tensor:
        return backward(lambda p: policy_loss(p, x.old_logprobs, x.advantages, x.mask))

    def cross_entropy() -> Tensor:
        return backward(lambda p: prm_loss(p, x.old_logprobs, x.outcome, x.mask))

    def advantages(rewards: Tensor | None) -> Tensor:
        return prime_advantages(x.outcome, rewards, x.mask, x.group)

    return [
        Case("advantages of rewards", "prime_core", lambda: advantages(x.rewards)),
        Case("advantages of outcomes", "prime_core", lambda: advantages(None)),
        Case("policy loss and gradient", "prime_core", clipped),
        Case("PRM loss and gradient", "prime_core", cross_entropy),
    ]


def published(x: Inputs) -> list[Case]:
    """Returns as PRIME's published code sums them: token by token, from the end."""

    def loop() -> Tensor:
        rewards, returns = x.rewards * x.mask, torch.zeros_like(x.rewards)
        for t in reversed(range(rewards.shape[1])):
            later = returns[:, t + 1] if t + 1 < rewards.shape[1] else 0.0
            returns[:, t] = rewards[:, t] + later
        return returns

    return [Case("advantages of rewards", "a loop over tokens (returns alone)", loop)]


def verl(x: Inputs) -> list[Case]:
    """verl's estimators and loss."""
    from verl.trainer.ppo import core_algos

    scores = torch.zeros_like(x.rewards)
    scores[:, 0] = x.outcome
    index = [str(int(one)) for one in x.group]
    mask = x.mask.float()

    def rloo() -> object:
        found = core_algos.compute_rloo_outcome_advantage
        return found(token_level_rewards=scores.clone(), response_mask=mask, index=index)

    def reinforce_pp() -> object:
        found = core_algos.compute_reinforce_plus_plus_outcome_advantage
        config = type("Config", (), {"gamma": 1.0})()
        return found(token_level_rewards=x.rewards, response_mask=mask, config=config)

    def clipped() -> object:
        logprobs = x.logprobs.clone().requires_grad_()
        loss, *_ = core_algos.compute_policy_loss(
            old_log_prob=x.old_logprobs,
            log_prob=logprobs,
            advantages=x.advantages,
            response_mask=mask,
            cliprange=0.2,
            cliprange_low=0.2,
            cliprange_high=0.2,
            clip_ratio_c=3.0,
        )
        loss.backward()
        return logprobs.grad

    return [
        Case("advantages of rewards", "verl, REINFORCE++", reinforce_pp),
        Case("advantages of outcomes", "verl, RLOO", rloo),
        Case("policy loss and gradient", "verl", clipped),
    ]


class Peak:
    """The most memory that this process holds while it is open, above what it held before (MiB)."""

    def __enter__(self) -> Peak:
        self._ended = threading.Event()
        self.before = self.most = _resident()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.added = (self.most - self.before) * _PAGE_MIB

    def _watch(self) -> None:
        while not self._ended.wait(0.002):
            self.most = max(self.most, _resident())


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


def measured(case: Case) -> tuple[float, float]:
    """Median seconds and largest added memory of some calls."""
    case.call()  # the first pays for what is allocated once
    seconds, added = [], []
    for _ in range(CALLS):
        with Peak() as peak:
            begun = time.perf_counter()
            case.call()
            seconds.append(time.perf_counter() - begun)
        added.append(peak.added)
    return statistics.median(seconds), max(added)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--responses", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=3072)
    given = parser.parse_args()
    torch.set_num_threads(1)
    x = inputs(given.responses, given.tokens)
    cases = [*ours(x), *published(x), *(verl(x) if find_spec("verl") else [])]
    first: dict[str, tuple[float, float]] = {}
    print(f"{given.responses} responses of up to {given.tokens} tokens, one thread")
    for case in cases:
        seconds, added = measured(case)
        reference = first.setdefault(case.purpose, (seconds, added))
        ratios = f"{seconds / reference[0]:6.2f} x {added / max(reference[1], 1):6.2f} x"
        print(f"{case.purpose:<26}{case.whose:<36}{seconds:8.3f} s {added:8.0f} MiB {ratios}")


if __name__ == "__main__":
    main()

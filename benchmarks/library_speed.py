"""Time and memory of returns and losses at 1,024 x 3,072 tokens, beside TRL's and verl's.

    python -m benchmarks.library_speed --alone               # this project and a plain loop
    python -m benchmarks.library_speed                       # theirs, too: build/library by pip
    python -m benchmarks.library_speed --responses 128

One process, one thread, the same tensors for all. Each line: median processor seconds of three
calls, of the thread that computes (other work on the machine counts little), the largest memory
that the call added to the process, and both relative to this project's function of the same
purpose. TRL has no function of its loss: its trainer's method is called on a stand-in that hands it
the log-probabilities, and also sums the figures that it logs.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

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


def trl(x: Inputs) -> list[Case]:
    """The loss of TRL's GRPOTrainer, averaged over tokens (bnpo), without a model."""
    from trl import GRPOTrainer

    tokens = torch.zeros_like(x.mask, dtype=torch.long)
    first = torch.zeros(len(tokens), 1, dtype=torch.long)
    given = {
        "prompt_ids": first,
        "prompt_mask": first + 1,
        "completion_ids": tokens,
        "completion_mask": x.mask.long(),
        "advantages": x.advantages,
        "old_per_token_logps": x.old_logprobs,
    }
    entropies = torch.zeros_like(x.logprobs)
    accelerator = SimpleNamespace(
        reduce=lambda value, **_: value, gather=lambda value: value, num_processes=1
    )

    def loss() -> object:
        logprobs = x.logprobs.clone().requires_grad_()
        trainer = SimpleNamespace(
            _get_per_token_logps_and_entropies=lambda *_, **__: (logprobs, entropies, None),
            accelerator=accelerator,
            args=SimpleNamespace(delta=None),
            aux_loss_enabled=False,
            beta=0.0,
            current_gradient_accumulation_steps=1,
            epsilon_high=0.2,
            epsilon_low=0.2,
            importance_sampling_level="token",
            loss_type="bnpo",
            off_policy_mask_threshold=None,
            top_entropy_quantile=1.0,
            use_vllm=False,
            _entropy_bonus_enabled=False,
            _metrics={"train": defaultdict(list)},
            model=SimpleNamespace(training=True),
        )
        GRPOTrainer._compute_loss(trainer, None, given).backward()
        return logprobs.grad

    return [Case("policy loss and gradient", "TRL, GRPOTrainer", loss)]


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
    """Median processor seconds and largest added memory of some calls."""
    case.call()  # the first pays for what is allocated once
    seconds, added = [], []
    for _ in range(CALLS):
        with Peak() as peak:
            begun = time.thread_time()
            case.call()
            seconds.append(time.thread_time() - begun)
        added.append(peak.added)
    return statistics.median(seconds), max(added)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--responses", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=3072)
    parser.add_argument("--alone", action="store_true", help="without TRL and verl")
    given = parser.parse_args()
    if not given.alone and find_spec("verl") is None:
        from benchmarks.library_loops import FOLDER, ROOT, other_python

        FOLDER.mkdir(parents=True, exist_ok=True)
        command = [other_python(FOLDER), "-m", "benchmarks.library_speed", *sys.argv[1:]]
        sys.exit(subprocess.run(command, cwd=ROOT).returncode)
    torch.set_num_threads(1)
    x = inputs(given.responses, given.tokens)
    cases = [*ours(x), *published(x), *([] if given.alone else [*verl(x), *trl(x)])]
    first: dict[str, tuple[float, float]] = {}
    print(f"{given.responses} responses of up to {given.tokens} tokens, one thread")
    for case in cases:
        seconds, added = measured(case)
        reference = first.setdefault(case.purpose, (seconds, added))
        # What adds nothing has no multiples.
        memory = f"{added / reference[1]:6.2f} x" if reference[1] >= 1 else "     -"
        ratios = f"{seconds / reference[0]:6.2f} x {memory}"
        print(f"{case.purpose:<26}{case.whose:<36}{seconds:8.3f} s {added:8.0f} MiB {ratios}")


if __name__ == "__main__":
    main()

"""The mathematics for other trainers: the paper's defaults, forgiving inputs, torch alone."""

import inspect
import json
import subprocess
import sys

import pytest
import torch

from benchmarks.library_loops import loops, run_loop
from prime_core import advantage, api
from prime_core.policy_loss import clipped_surrogate, token_mean_loss
from prime_core.prm_loss import pair_terms, prm_dpo_detached
from prime_core.settings.reading import flatten, parse_settings
from tests.installation.resolution import project
from tests.support.shared_data import ROOT

GROUP = ["a", ("b", 1), "a", ("b", 1)]
OUTCOME = torch.tensor([1.0, 0.0, 0.0, 1.0])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]])


def logprobs(seed: int) -> torch.Tensor:
    return -torch.rand(4, 3, generator=torch.Generator().manual_seed(seed))


def test_defaults_are_the_papers():
    settings = flatten(parse_settings({}, "test").model_dump(mode="json"))
    for function, section in (
        (api.prm_rewards, "prm"),
        (api.prm_loss, "prm"),
        (api.prime_advantages, "policy"),
        (api.policy_loss, "policy"),
    ):
        for name, parameter in inspect.signature(function).parameters.items():
            key = f"{section}.{name}"
            if key in settings and parameter.default is not None:
                assert parameter.default == settings[key], key
    assert settings["policy.eps_clip_high"] == settings["policy.eps_clip"]


def test_groups_are_any_hashables_and_masks_any_zeros_and_ones():
    rewards = api.prm_rewards(logprobs(0), logprobs(1), MASK)
    expected = 0.05 * (logprobs(0) - logprobs(1)) * MASK
    torch.testing.assert_close(rewards, expected)
    group = torch.tensor([7, 3, 7, 3])
    for mask in (MASK, MASK.bool(), MASK.float()):
        found = api.prime_advantages(OUTCOME, rewards, mask, GROUP)
        assert torch.equal(found, api.prime_advantages(OUTCOME, rewards, MASK, group))
    exact, _ = advantage.advantages(
        adv_estimator="rloo",
        outcome=OUTCOME,
        implicit_reward=rewards,
        mask=MASK.bool(),
        group=torch.tensor([0, 1, 0, 1]),
        baseline="code",
        gamma_outcome=1.0,
        gamma_process=1.0,
        outcome_coef=1.0,
        process_coef=1.0,
        combine="returns",
        whiten=True,
    )
    assert torch.equal(found, exact)


def test_micro_batches_add_up_to_the_losses_of_the_whole():
    prm, policy = logprobs(0).requires_grad_(), logprobs(2).requires_grad_()
    whole = api.prm_loss(prm, logprobs(1), OUTCOME, MASK)
    halves = [
        api.prm_loss(prm[rows], logprobs(1)[rows], OUTCOME[rows], MASK[rows], num_responses=4)
        for rows in (slice(0, 2), slice(2, 4))
    ]
    torch.testing.assert_close(sum(halves), whole)
    whole.backward()
    assert prm.grad is not None
    assert prm.grad[MASK == 0].abs().sum() == 0
    advantages = logprobs(3)
    loss = api.policy_loss(policy, logprobs(2), advantages, MASK)
    losses, _ = clipped_surrogate(policy, logprobs(2), advantages, MASK.bool(), 0.2, 0.2)
    torch.testing.assert_close(loss, token_mean_loss(losses, MASK.bool(), 9, 4, 3))


def test_dpo_compares_within_groups():
    z = (0.05 * (logprobs(0) - logprobs(1)) * MASK).sum(1)
    opponents, _ = pair_terms(z, OUTCOME, torch.tensor([0, 1, 0, 1]), "none")
    found = api.prm_loss(logprobs(0), logprobs(1), OUTCOME, MASK, loss_type="dpo", group=GROUP)
    torch.testing.assert_close(found, prm_dpo_detached(z, opponents, OUTCOME).mean())
    found = api.prm_loss(
        logprobs(0), logprobs(1), OUTCOME, MASK, loss_type="dpo_pairs", group=GROUP
    )
    pairs = -torch.nn.functional.logsigmoid(torch.stack([z[0] - z[2], z[3] - z[1]]))
    torch.testing.assert_close(found, pairs.mean())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: api.prm_rewards(logprobs(0), logprobs(1), MASK * 0.5), "numbers that are 0 or 1"),
        (lambda: api.prm_rewards(logprobs(0)[:2], logprobs(1), MASK), "the mask's shape"),
        (
            lambda: api.prime_advantages(OUTCOME, None, MASK, ["a"]),
            "groups of 4 responses, got 1",
        ),
        (
            lambda: api.prm_loss(logprobs(0), logprobs(1), OUTCOME, MASK, loss_type="dpo"),
            "'dpo' or 'dpo_pairs' with groups",
        ),
        (
            lambda: api.policy_loss(logprobs(0), logprobs(0), MASK * 1.0, MASK, loss_mode="x"),
            "loss_mode must be in",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


BLOCKED = """
import importlib.abc, json, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in json.loads(sys.argv[1]):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Block())
import torch
from prime_core.api import prime_advantages, prm_loss, prm_rewards, policy_loss
one = torch.zeros(2, 2)
rewards = prm_rewards(one, one, one + 1)
prime_advantages(one[0], rewards, one + 1, ["a", "a"])
prm_loss(one, one, one[0], one + 1), policy_loss(one, one, one, one + 1)
"""
MODULES = {"pyyaml": "yaml", "snakemake-executor-plugin-slurm": "snakemake_executor_plugin_slurm"}


def test_the_mathematics_runs_where_torch_alone_is_installed():
    assert [one.partition(">")[0] for one in project()["dependencies"]] == ["torch"]
    names = [one.partition(">")[0] for one in project()["optional-dependencies"]["workflow"]]
    blocked = {MODULES.get(name, name.replace("-", "_")) for name in names}
    # torch itself requires it.
    blocked -= {"jinja2"}
    assert {"jaxtyping", "numpy", "transformers", "pandas"} < blocked
    command = [sys.executable, "-W", "ignore", "-c", BLOCKED, json.dumps(sorted(blocked))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_commands_say_which_extra_they_need():
    program = BLOCKED.split("import torch")[0] + "from prime_core.cli.entry import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(["click"])],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("prime: error: click is not installed")
    assert "workflow" in done.stderr


def test_the_documented_loop_runs(tmp_path, tiny_model):
    programs = loops()
    assert set(programs) == {"A loop of your own", "TRL", "verl"}
    printed = run_loop(sys.executable, programs["A loop of your own"], tiny_model, tmp_path)
    assert [line.partition(":")[0] for line in printed.splitlines()] == ["step 0", "step 1"]
    for program in programs.values():
        compile(program, "docs/library.md", "exec")

"""The plan of an agent: turns, what they read and draw, and the environment's seconds."""

from dataclasses import replace

import pytest

from prime_core.planning.command import Options, find_shape, make_case
from prime_core.planning.page import page
from prime_core.planning.plan import plan
from prime_core.planning.seconds import Sampling, _prompt_flops, forward_flops
from prime_core.settings.reading import load_settings
from tests.support.shared_data import ROOT

pytestmark = pytest.mark.usefixtures("without_site")
SOKOBAN = ROOT / "configs" / "agents" / "sokoban_7b.yaml"


def planned(*assume: str):
    settings = load_settings(SOKOBAN)
    shape = find_shape(settings, None)[1]
    return plan(make_case(settings, None, shape, Options(gpus=8, assume=assume)))


def test_the_7b_agent_fits_and_its_page_says_what_an_episode_is():
    found = planned()
    assert found.problems == ()
    work = found.case.work
    assert work.turns == pytest.approx(0.7 * 15)
    assert work.read_tokens == pytest.approx(
        work.turns * work.prompt_tokens + work.response_tokens * (work.turns - 1) / 2
    )
    text = page(found, [found], "Qwen2.5-7B", "assumed")
    assert "AN EPISODE, gem:game:Sokoban-v0-easy" in text
    assert "env_step_ms" in text


def test_slow_environments_cost_sampling_and_verification_their_steps():
    quick, slow = planned("env_step_ms=0"), planned("env_step_ms=1000")
    steps = 128 / 8 * 0.7 * 15
    for stage in ("sample", "verify"):
        cores = slow.stages[stage].machine.cpus_per_task
        more = slow.stages[stage].seconds.compute - quick.stages[stage].seconds.compute
        assert more == pytest.approx(steps / cores)


def test_a_turn_reads_all_before_it():
    shape = planned().case.shape
    work = Sampling(
        num_responses=3,
        num_prompts=1,
        prompt_tokens=100,
        response_tokens=400,
        longest=100,
        at_once=3,
        num_gpus=1,
        turns=4,
    )
    each = sum(forward_flops(shape, 100 + 100 * turn, 0) for turn in range(4))
    assert _prompt_flops(shape, work) == pytest.approx(3 * each, rel=0.02)
    once = replace(work, turns=0)
    assert _prompt_flops(shape, once) == forward_flops(shape, 100, 0)

"""Credit of turns beside exact advantages, on a lake whose walks are written by hand."""

import json
import math

import pytest

from prime_core.cli.main import main
from prime_core.environments.process import digest
from prime_core.evaluation.agent_credit import world_of
from prime_core.run.atomic import write_text
from prime_core.run.layout import RunFiles
from prime_core.run.tables import BATCH, REWARDS, ROLLOUTS, write_table
from prime_core.settings.env import Env
from prime_core.settings.reading import dump_settings, parse_settings

pytest.importorskip("gymnasium")

LAKE = {"map_name": "4x4", "is_slippery": False, "rules": False}
# To state 14 beside the goal; then to it, or back and to it, or into no action at all.
TO_14 = (("d", 0), ("d", 4), ("r", 8), ("r", 9), ("d", 10))
WALKS = [
    [*TO_14, ("r", 14)],
    [*TO_14, ("l", 14), ("r", 13), ("what?", 14)],
    [*TO_14, ("l", 14), ("r", 13), ("r", 14)],
    [*TO_14, ("r", 14)],
]
OUTCOMES = [1.0, 0.0, 1.0, 1.0]


@pytest.fixture
def run(tmp_path):
    env = {"id": "FrozenLake-v1", "kwargs": LAKE, "max_turns": 8}
    values = {"results": str(tmp_path), "data": {"source": "env", "env": env}, "sft.enabled": False}
    settings = parse_settings(values, "test")
    files = RunFiles(settings.run_dir)
    write_text(files.config, dump_settings(settings))
    rows, rewards = [], []
    for sample, (walk, outcome) in enumerate(zip(WALKS, OUTCOMES, strict=True)):
        # A letter, then a token of what the environment says.
        mask = [position % 2 == 0 for position in range(2 * len(walk) - 1)]
        key = {"prompt_id": "env-1", "sample": sample}
        states = [digest(str(state)) for _, state in walk]
        rows.append(
            key
            | {
                **{"prompt_tokens": [1], "response_tokens": [2] * len(mask), "text": ""},
                **{"sampler_logprobs": [-1.0] * len(mask), "finish_reason": "stop"},
                **{"policy_iteration": 0, "response_mask": mask, "states": states},
                **{"actions": [action for action, _ in walk], "outcome": outcome},
            }
        )
        # Right about what to do beside the goal; 5 at tokens that are not the policy's.
        worth = {("r", 14): 1.0, ("l", 14): -1.0, ("what?", 14): -2.0}
        of_tokens = [worth.get(walk[n // 2], 0.0) if m else 5.0 for n, m in enumerate(mask)]
        rewards.append(key | {"implicit_reward": of_tokens, "reference_logprobs": of_tokens})
    write_table(files.rollouts(1, 0), rows, ROLLOUTS)
    write_table(files.batch(1), rows, BATCH)
    write_table(files.rewards(1), rewards, REWARDS)
    return files


def test_rewards_of_turns_are_held_against_what_the_table_says(run, tmp_path, capsys):
    out = tmp_path / "credit.json"
    words = ["agent-credit", "--run", run.root, "--iterations", "1", "--out", out]
    main([*map(str, words)], standalone_mode=False)
    (figures,) = json.loads(out.read_text())["iterations"]
    assert figures["num_turns"] == sum(map(len, WALKS))
    # By turn 5 only state 14 is left; r is worth 1 and l less, by what the two later turns bring.
    turn = figures["by_turn"][5]
    assert (turn["turn"], turn["num_turns"]) == (5, 4)
    assert turn["implicit"]["pearson"] == pytest.approx(1)
    assert turn["implicit"]["sign"] == 1
    # Where all did the same, an advantage is 0 and says nothing of signs.
    assert figures["by_turn"][0]["implicit"] == {
        "num_steps": 4,
        "pearson": None,
        "spearman": None,
        "sign": None,
    }
    # An outcome praises the walk that came back as much as the straight one.
    assert turn["outcome"]["sign"] == pytest.approx(3 / 4)
    assert "equal signs 1.00; outcome alone" in capsys.readouterr().out


def test_success_is_the_goal_and_an_unknown_action_stays():
    world = world_of(Env(id="FrozenLake-v1", kwargs=LAKE))
    assert world.steps.reward.sum() == 1
    assert world.steps.reward[14, world.action("right")] == 1
    assert world.steps.goes_on[14, world.action("nonsense"), 14] == 1
    cliff = world_of(Env(id="CliffWalking-v1", kwargs={"rules": False}))
    # Its table also has moves from the cliff and from the goal, where no turn begins.
    assert cliff.steps.reward[:37].sum() == 1
    assert cliff.steps.reward[35, cliff.action("down")] == 1
    # Back to the start from the cliff, which ends nothing.
    assert math.isclose(cliff.steps.goes_on[36, cliff.action("right"), 36], 1)


@pytest.mark.parametrize("name", ["Blackjack-v1", "nowhere"])
def test_other_environments_have_no_table(name):
    with pytest.raises(ValueError, match="table"):
        world_of(Env(id=name, kwargs={}))

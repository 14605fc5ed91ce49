"""Exact values of a policy: by hand, by roll-outs, and where there are none."""

import numpy as np
import pytest

from prime_core.evaluation.exact_values import (
    agreement,
    horizon_values,
    policy_values,
    transitions,
)

# A corridor 0, 1, 2, 3 with the goal behind 3: action 1 goes right, 0 left; a fifth of the moves
# slip the other way.
SLIP = 0.2


def corridor() -> dict[int, dict[int, list[tuple[float, int, float, bool]]]]:
    def move(state: int, step: int) -> tuple[int, float, bool]:
        following = max(0, state + step)
        return (3, 1.0, True) if following == 4 else (following, 0.0, False)

    return {
        state: {
            action: [
                (1 - SLIP, *move(state, 2 * action - 1)),
                (SLIP, *move(state, 1 - 2 * action)),
            ]
            for action in (0, 1)
        }
        for state in range(4)
    }


POLICY = np.array([[0.3, 0.7], [0.5, 0.5], [0.4, 0.6], [0.1, 0.9]])


def returns(state: int, action: int, num_turns: int, number: int, seed: int) -> np.ndarray:
    """Returns of rolled-out episodes that begin with an action."""
    rng, table, found = np.random.default_rng(seed), corridor(), np.zeros(number)
    for episode in range(number):
        at, chosen = state, action
        for _ in range(num_turns):
            outcomes = table[at][chosen]
            which = rng.choice(len(outcomes), p=[one[0] for one in outcomes])
            _, at, reward, ended = outcomes[which]
            found[episode] += reward
            if ended:
                break
            chosen = int(rng.random() < POLICY[at, 1])
    return found


@pytest.mark.parametrize(("state", "action", "num_turns"), [(0, 1, 6), (2, 0, 5), (3, 1, 1)])
def test_values_are_the_mean_of_rolled_out_episodes(state, action, num_turns):
    _, q = horizon_values(transitions(corridor()), POLICY, num_turns)
    found = returns(state, action, num_turns, 4000, seed=state)
    assert q[num_turns, state, action] == pytest.approx(
        found.mean(), abs=4 * found.std() / np.sqrt(len(found)) + 1e-9
    )


def test_a_long_horizon_tends_to_the_solution_of_the_linear_system():
    world = transitions(corridor())
    values, q = policy_values(world, POLICY, gamma=0.9)
    cut, q_cut = horizon_values(world, POLICY, 300, gamma=0.9)
    np.testing.assert_allclose(cut[-1], values, atol=1e-12)
    np.testing.assert_allclose(q_cut[-1], q, atol=1e-12)
    # By definition the policy's own mean advantage is 0.
    np.testing.assert_allclose((POLICY * (q - values[:, None])).sum(1), 0, atol=1e-12)
    # Without a discount every episode ends at the goal some time.
    np.testing.assert_allclose(policy_values(world, POLICY)[0], 1)


def test_episodes_that_never_end_have_no_values():
    for_ever = transitions({0: {0: [(1.0, 0, 1.0, False)]}})
    with pytest.raises(ValueError, match="never end"):
        policy_values(for_ever, np.ones((1, 1)))
    assert horizon_values(for_ever, np.ones((1, 1)), 3)[0][:, 0].tolist() == [0, 1, 2, 3]


def test_agreement_is_of_order_and_of_signs():
    same = agreement([0.1, -0.2, 0.4], [1.0, -2.0, 4.0])
    assert (same.num_steps, same.sign) == (3, 1.0)
    assert same.pearson == pytest.approx(1)
    assert agreement([1.0, 1.0], [0.0, 2.0]).pearson is None
    half = agreement([1.0, 1.0, -1.0], [1.0, -1.0, 1e-15])
    assert half.sign == 0.5
    assert agreement([], []).sign is None

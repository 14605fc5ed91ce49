"""Scripted policies that show a small model how an environment is played (data.env.demonstrator).

Each is a function, (observation, random.Random) -> action. They are no experts: from what they show
a model learns which actions there are, and reinforcement learning which of them pay.
"""

from __future__ import annotations

import random

# Actions of FrozenLake's map 4x4, by state, on a way to the goal that avoids the holes.
_WAY_4X4 = {0: "d", 1: "r", 2: "d", 3: "l", 4: "d", 6: "d", 8: "r", 9: "r", 10: "d", 13: "r"}
_WAY_4X4 |= {14: "r"}
_TO_THE_GOAL = 0.6  # of the steps: about one episode in nine then arrives


def frozen_lake_4x4(observation: str, rng: random.Random) -> str:
    """FrozenLake on the map 4x4: mostly towards the goal, else anywhere."""
    state = int(observation.split()[-1])
    return _WAY_4X4[state] if rng.random() < _TO_THE_GOAL else rng.choice("ldru")


def frozen_lake_8x8(observation: str, rng: random.Random) -> str:
    """FrozenLake on the map 8x8: mostly along its upper and right edges, else anywhere."""
    state = int(observation.split()[-1])
    # A step astray is walked back or leads into a hole: of 14 steps more must be right than of 6.
    return ("d" if state % 8 == 7 else "r") if rng.random() < 0.8 else rng.choice("ldru")

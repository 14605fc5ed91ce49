"""Published values whose rows are turns, laid out as we have them: a row an episode.

Between two turns lies one token that was not sampled.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Episodes:
    """mask: [E, T] of E episodes; group: [E]; first: the first turn's row of each episode; row,
    column, episode, position: of each sampled token, where it is in both.
    """

    mask: Tensor
    group: Tensor
    first: Tensor
    row: Tensor
    column: Tensor
    episode: Tensor
    position: Tensor

    def of(self, values: Tensor) -> Tensor:
        """Values of turns' tokens as episodes; rubbish at what was not sampled."""
        laid = torch.full(self.mask.shape, float("nan"), dtype=values.dtype)
        laid[self.episode, self.position] = values[self.row, self.column]
        return laid

    def back(self, values: Tensor, like: Tensor) -> Tensor:
        """Values of episodes as turns' tokens, 0 elsewhere, in the shape of `like`."""
        turns = torch.zeros(like.shape, dtype=values.dtype)
        turns[self.row, self.column] = values[self.episode, self.position]
        return turns

    def by_turn(self, values: Tensor, fill: float) -> Tensor:
        """One number a turn as [E, N], N the most turns."""
        _, episode = self.first_of_row
        turn = torch.arange(len(values)) - self.first[episode]
        laid = torch.full((len(self.first), int(turn.max()) + 1), fill, dtype=values.dtype)
        laid[episode, turn] = values
        return laid

    @property
    def first_of_row(self) -> tuple[Tensor, Tensor]:
        """Rows where episodes begin, and the episode of each row."""
        begins = torch.zeros(int(self.row.max()) + 1, dtype=torch.long)
        begins[self.first] = 1
        return self.first, begins.cumsum(0) - 1


def episodes_of(uid: Tensor, traj: Tensor, mask: Tensor) -> Episodes:
    """Turns that stand one after the other, episode by episode."""
    begins = torch.ones(len(traj), dtype=torch.bool)
    begins[1:] = (traj[1:] != traj[:-1]) | (uid[1:] != uid[:-1])
    assert int(begins.sum()) == len({*zip(uid.tolist(), traj.tolist(), strict=True)})
    places: list[tuple[int, int, int, int]] = []
    episode, position = -1, 0
    for row, lengths in enumerate(mask.sum(1).tolist()):
        if begins[row]:
            episode, position = episode + 1, 0
        else:
            position += 1  # the observation
        assert mask[row, :lengths].all()
        for column in range(lengths):
            places.append((row, column, episode, position))
            position += 1
    rows, columns, numbers, positions = torch.tensor(places).T
    laid = torch.zeros(episode + 1, int(positions.max()) + 1, dtype=torch.bool)
    laid[numbers, positions] = True
    first = begins.nonzero().flatten()
    return Episodes(laid, uid[first], first, rows, columns, numbers, positions)

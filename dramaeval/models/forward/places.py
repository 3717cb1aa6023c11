"""Positions of a batch that are read: sorted into groups, and what each of them sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from dramaeval.models.forward import shared_prefix as branches
from dramaeval.models.forward.shared_prefix import SharedPrefixLayout


@dataclass(frozen=True)
class Places:
    """The positions of a batch that are read, in groups that look at the same keys.

    A group is a row; or a branch of a row, where a row is read at so many positions that each of them would
    look at too many other branches in vain.

    Attributes:
        rows: int64 ``[groups]``, the row of each.
        positions: int64 ``[groups, places]``, in the row; as many as the group that is read most has, the
            others repeat their own last.
        group: int64 ``[answers]``, the group of each answer.
        place: int64 ``[answers]``, its column in ``positions``.
        branch_of: the layout, where groups are branches.
    """

    rows: torch.Tensor
    positions: torch.Tensor
    group: torch.Tensor
    place: torch.Tensor
    branch_of: SharedPrefixLayout | None = None

    @classmethod
    def of(
        cls, read_at: torch.Tensor, rows: int, layout: SharedPrefixLayout | None = None
    ) -> Places:
        """Sort positions into groups.

        Args:
            read_at: int64 ``[answers, 2]``, the row and the position of each.
            rows: of the batch.
            layout: of prefix and branches, if there is one.
        """
        row, position = read_at.unbind(-1)
        each = torch.arange(rows, device=row.device)
        by_row = cls._sorted(each, torch.zeros_like(each), row, position)
        # A place looks at all of its row, a branch's place at prefix and branch alone, which have to be copied
        # for that. Fewer places than a branch has tokens never cost more than the layers before.
        if layout is None or by_row.positions.shape[1] <= layout.width:
            return by_row
        each = torch.arange(rows * layout.count, device=row.device)
        start = layout.prefix.shape[1]
        group = row * layout.count + (position - start) // layout.width
        begin = start + each % layout.count * layout.width
        found = cls._sorted(each // layout.count, begin, group, position)
        return replace(found, branch_of=layout)

    @classmethod
    def _sorted(
        cls, rows: torch.Tensor, begin: torch.Tensor, group: torch.Tensor, position: torch.Tensor
    ) -> Places:
        """Groups of these rows, each beginning at a position; the group and the position of each answer."""
        among = nn.functional.one_hot(group, len(rows))
        place = among.cumsum(0).gather(1, group[:, None])[:, 0] - 1
        last = begin.scatter_reduce(0, group, position, "amax")
        positions = last[:, None].repeat(1, int(among.sum(0).max()))
        positions[group, place] = position
        return cls(rows, positions, group, place)

    def to(self, device: torch.device) -> Places:
        """The same on a device."""
        names = ("rows", "positions", "group", "place")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def of_states(self, states: torch.Tensor) -> torch.Tensor:
        """``[rows (or one for all), tokens, size]`` at the places: ``[groups, places, size]``."""
        rows = self.rows if len(states) > 1 else torch.zeros_like(self.rows)
        return states[rows[:, None], self.positions]

    def of_answers(self, made: torch.Tensor) -> torch.Tensor:
        """``[groups, places, size]`` in the order of the answers: ``[1, answers, size]``."""
        return made[self.group, self.place][None]

    def keys(self, states: torch.Tensor) -> torch.Tensor:
        """Keys or values ``[rows, heads, keys, size]`` as each group sees them, one entry a group."""
        return states if self.branch_of is None else branches.of_each(states, self.branch_of)

    def visible(self, mask: Any, tokens: int, keys: int) -> torch.Tensor:
        """Which keys each place sees: bool ``[groups, 1, places, keys]``.

        Args:
            mask: as the layer is given it: none, a layout of branches, or one of every pair of positions.
            tokens: of a row.
            keys: that a group has; those beyond its tokens stand in front, and everyone sees them.
        """
        layout = branches.layout_of(mask, tokens)
        if self.branch_of is not None:
            own = (self.positions - self.branch_of.prefix.shape[1]) % self.branch_of.width
            seen = self.branch_of.visible.to(own.device)
            found = seen.take_along_dim(own[:, None, :, None], dim=2)
        elif mask is not None and layout is None:
            expanded = mask.expand(len(self.rows), -1, -1, -1)
            return expanded.take_along_dim(self.positions[:, None, :, None], dim=2)
        else:
            at = torch.arange(tokens, device=self.positions.device)
            own = self.positions[:, :, None]
            found = (at <= own if layout is None else (at <= own) & layout.within(own, at))[:, None]
        return nn.functional.pad(found, (keys - found.shape[-1], 0), value=True)

"""Attention for several questions that share one beginning.

The questions about a record differ only in their ends: system prompt, clip and scene are the same. A row
of a batch is therefore laid out as one *prefix* followed by equally wide *branches*:

    [ prefix, padded on the right | branch 0 | branch 1 | … ]

A branch sees the prefix and itself, never another branch, so each question is answered exactly as if it
stood alone, while the prefix is computed once. The layout is registered with transformers as an attention
implementation of its own name; given an ordinary mask it is transformers' own sdpa attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "shared_prefix"
#: Queries of a branch that attend at once. What comes after the last of them is not computed to be masked; with
#: fewer the products get too small to be quick.
CHUNK = 128


@dataclass(frozen=True)
class SharedPrefixLayout:
    """How the rows of a batch are laid out; handed to the attention in place of a mask.

    Attributes:
        prefix: bool ``[rows, prefix width]``, true where a prefix token is real.
        count: branches a row.
        width: tokens a branch, padding included.
    """

    prefix: torch.Tensor
    count: int
    width: int

    @cached_property
    def visible_by_row(self) -> torch.Tensor:
        """Which keys the branches of a row see: bool ``[rows, 1, width, prefix width + width]``."""
        rows, prefix_width = self.prefix.shape
        device = self.prefix.device
        own = torch.ones(self.width, self.width, dtype=torch.bool, device=device).tril()
        before = self.prefix[:, None, None, :].expand(rows, 1, self.width, prefix_width)
        own = own.expand(rows, 1, self.width, self.width)
        return torch.cat([before, own], dim=-1)

    @cached_property
    def visible(self) -> torch.Tensor:
        """Which keys a branch sees: bool ``[rows × branches, 1, width, prefix width + width]``."""
        return self.visible_by_row.repeat_interleave(self.count, dim=0)

    def within(self, position: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Whether other positions of a row are in its prefix or in the same branch, before or after.

        Args:
            position: int64 ``[rows, places, 1]``.
            other: int64 ``[tokens]``, every position of a row.

        Returns:
            bool ``[rows, places, tokens]``; a position is always with itself.
        """
        prefix_width = self.prefix.shape[1]
        shared = nn.functional.pad(self.prefix, (0, len(other) - prefix_width)).to(position.device)
        branch, others = ((at - prefix_width) // self.width for at in (position, other))
        return shared[:, None] | (branch == others)


def shared_prefix_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | SharedPrefixLayout | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attend within prefix and branches (see `SharedPrefixLayout`), or as sdpa does for any other mask.

    Args:
        query: ``[rows, heads, tokens, head size]``; ``key`` and ``value`` have the key-value heads, and may
            have further tokens in front.

    Returns:
        ``[rows, tokens, heads, head size]`` and no attention weights, as transformers expects it.
    """
    layout = layout_of(attention_mask, query.shape[2])
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    if kwargs.get("sliding_window") or kwargs.get("position_bias") is not None:
        raise ValueError(
            "This layer sees a window of the tokens or weighs them by their place in the row, which questions "
            "that share a prefix do not have: set batch.shared_prefix=false."
        )
    # Keys that come before every row, as prefix tuning gives them: all tokens see them.
    before = key.shape[2] - query.shape[2]
    split = layout.prefix.shape[1] + before
    # One mask serves all branches of one row.
    visible = (layout.visible_by_row if len(query) == 1 else layout.visible).to(query.device)
    prefix, _ = sdpa_attention_forward(
        module,
        query[:, :, : split - before],
        key[:, :, :split],
        value[:, :, :split],
        _causal_after(before, split, query.device) if before else None,
        **kwargs,
    )
    branches = _causal_in_chunks(
        module,
        _fold(query[:, :, split - before :], layout),
        of_each(key, layout),
        of_each(value, layout),
        nn.functional.pad(visible, (before, 0), value=True) if before else visible,
        **kwargs,
    )
    rows, heads, size = query.shape[0], query.shape[1], query.shape[3]
    branches = branches.reshape(rows, layout.count * layout.width, heads, size)
    return torch.cat([prefix, branches], dim=1), None


def _causal_in_chunks(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    visible: torch.Tensor,
    **kwargs: Any,
) -> torch.Tensor:
    """sdpa attention by the last keys, a chunk of them at a time; what is ``visible`` is causal among them.

    sdpa computes every pair of a mask, seen or not, and takes no mask beside its own causal one.
    """
    width = query.shape[2]
    front = key.shape[2] - width
    found = []
    for start in range(0, width, CHUNK):
        end = min(start + CHUNK, width)
        seen = visible[:, :, start:end, : front + end]
        keys, values = key[:, :, : front + end], value[:, :, : front + end]
        found.append(
            sdpa_attention_forward(module, query[:, :, start:end], keys, values, seen, **kwargs)[0]
        )
    return torch.cat(found, dim=1)


def as_mask(layout: SharedPrefixLayout) -> torch.Tensor:
    """A layout as a tensor of four dimensions, which every transformers model hands on as it is.

    uint8 ``[rows, 1, branches, prefix width]``: no other mask is of that type. Unlike an object it follows
    a model over several devices.
    """
    rows, width = layout.prefix.shape
    return layout.prefix.to(torch.uint8)[:, None, None].expand(rows, 1, layout.count, width)


def layout_of(mask: Any, tokens: int) -> SharedPrefixLayout | None:
    """The layout that a mask stands for; None for an ordinary mask. ``tokens`` is the width of a row."""
    if isinstance(mask, SharedPrefixLayout):
        return mask
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.uint8:
        return None
    count = mask.shape[2]
    width = (tokens - mask.shape[3]) // count
    return SharedPrefixLayout(prefix=mask[:, 0, 0].bool(), count=count, width=width)


def _causal_after(before: int, keys: int, device: torch.device) -> torch.Tensor:
    """Causal, with so many keys in front that all see: bool ``[1, 1, keys - before, keys]``."""
    mask = torch.ones(keys - before, keys, dtype=torch.bool, device=device)
    return mask.tril(diagonal=before)[None, None]


def _fold(states: torch.Tensor, layout: SharedPrefixLayout) -> torch.Tensor:
    """``[rows, heads, count × width, size]`` to ``[rows × count, heads, width, size]``."""
    rows, heads, _, size = states.shape
    states = states.reshape(rows, heads, layout.count, layout.width, size)
    return states.transpose(1, 2).reshape(rows * layout.count, heads, layout.width, size)


def of_each(states: torch.Tensor, layout: SharedPrefixLayout) -> torch.Tensor:
    """Keys or values ``[rows, heads, keys, size]`` as each branch sees them, its row's beginning and its own:
    ``[rows × count, heads, keys before the branches + width, size]``.
    """
    own = layout.count * layout.width
    shared = states[:, :, :-own].repeat_interleave(layout.count, dim=0)
    return torch.cat([shared, _fold(states[:, :, -own:], layout)], dim=2)


def register() -> None:
    """Make the layout known to transformers under `NAME`; calling it twice does no harm."""
    AttentionInterface.register(NAME, shared_prefix_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)

"""Attention for several questions that share one beginning.

The questions about a record have the same system prompt, clip and scene, and differ only after these. A row of a batch
is therefore one *prefix* followed by *branches* of equal width:

    [ prefix, padded on the right | branch 0 | branch 1 | … ]

A branch attends to the prefix and to itself, and not to other branches. Each question therefore has the logits of a
separate sequence, and the prefix is computed once. The attention is registered with transformers under `NAME`; for
every other mask it is the sdpa attention of transformers.

A branch may be a tree of tokens in depth-first order (see `dramaeval.models.inputs.answer_sequences`). A token then
attends only to the tokens on its path.

In a layer with a sliding window, a token attends only to the last positions before it on its path, as in a separate
sequence.

A layout is passed through a language model as a mask of four dimensions, which every decoder of transformers passes to
its attention unchanged (see `carrier_mask`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from dramaeval.compat.transformers import carrier_mask

NAME = "shared_prefix"
#: Number of queries of a branch that are computed together. Keys after the last query are left out, so that smaller
#: chunks compute fewer pairs, but small products are slow.
CHUNK = 128


@dataclass(frozen=True)
class SharedPrefixLayout:
    """The layout of the rows of a batch.

    Attributes:
        prefix: bool ``[rows, prefix width]``, false for padding.
        count: number of branches per row.
        width: number of tokens per branch, with padding.
        ends: int64 ``[rows, branches, width]``, for each token of a branch the index after the last token that attends
            to it; None if all later tokens of the branch do.
    """

    prefix: torch.Tensor
    count: int
    width: int
    ends: torch.Tensor | None = None

    def as_mask(self) -> torch.Tensor:
        """Encode the layout as a mask.

        Returns:
            uint8 ``[rows, 1, branches, prefix width]``; with ``ends`` int32 ``[rows, width, branches, prefix width +
            width]``, whose second dimension encodes the width and needs no memory.
        """
        mask = carrier_mask(self.prefix, self.count)
        if self.ends is None:
            return mask
        mask = torch.cat([mask[:, 0].int(), self.ends.int()], dim=-1)
        return mask[:, None].expand(-1, self.width, -1, -1)

    @classmethod
    def from_mask(cls, mask: Any, tokens: int) -> SharedPrefixLayout | None:
        """Decode the layout from a mask of `as_mask`; None for any other mask.

        Args:
            mask: the mask that the attention of a layer gets.
            tokens: number of tokens of a row.
        """
        if not isinstance(mask, torch.Tensor) or mask.dtype not in (torch.uint8, torch.int32):
            return None
        count = mask.shape[2]
        if mask.dtype == torch.int32:
            width = mask.shape[1]
            flags, ends = mask[:, 0].split([tokens - count * width, width], dim=-1)
            return cls(flags[:, 0].bool(), count, width, ends)
        return cls(mask[:, 0, 0].bool(), count, (tokens - mask.shape[3]) // count)

    def visible_keys(self) -> torch.Tensor:
        """The keys that a branch attends to.

        Returns:
            bool ``[rows, 1, width, prefix width + width]``, the same for all branches of a row; with ``ends``
            ``[rows × count, 1, width, prefix width + width]``.
        """
        rows, prefix_width = self.prefix.shape
        branch = torch.ones(self.width, self.width, dtype=torch.bool, device=self.prefix.device)
        branch = branch.tril()[None, None]
        prefix = self.prefix
        if self.ends is not None:
            query = torch.arange(self.width, device=self.ends.device)[:, None]
            branch = branch & (query < self.ends.flatten(0, 1)[:, None, None])
            prefix, rows = prefix.repeat_interleave(self.count, dim=0), rows * self.count
        prefix = prefix[:, None, None, :].expand(rows, 1, self.width, prefix_width)
        return torch.cat([prefix, branch.expand(rows, 1, -1, -1)], dim=-1)

    def visible_in_window(self, visible: torch.Tensor, earlier: int, window: int) -> torch.Tensor:
        """The keys that a branch attends to in a layer with a sliding window.

        Args:
            visible: the result of `visible_keys`.
            earlier: number of keys before the keys of the prefix.
            window: a token attends to the keys less than ``window`` positions before it.

        Returns:
            bool, with the shape of ``visible`` and the earlier keys prepended.
        """
        # A token attends to all tokens of its path, so that their number gives its position.
        position = visible.sum(-1, keepdim=True) - 1
        prefix = torch.arange(-earlier, self.prefix.shape[1], device=visible.device)
        branch = position.transpose(-1, -2)
        keys = torch.cat([prefix.expand(*branch.shape[:-1], -1), branch], dim=-1)
        visible = nn.functional.pad(visible, (earlier, 0), value=True)
        return visible & (position - keys < window)

    def split_branches(self, states: torch.Tensor) -> torch.Tensor:
        """Reshape ``[rows, heads, count × width, size]`` to ``[rows × count, heads, width, size]``."""
        rows, heads, _, size = states.shape
        states = states.reshape(rows, heads, self.count, self.width, size)
        return states.transpose(1, 2).reshape(rows * self.count, heads, self.width, size)

    def copy_to_branches(self, states: torch.Tensor) -> torch.Tensor:
        """Copy keys or values ``[rows, heads, keys, size]`` for each branch.

        Returns:
            ``[rows × count, heads, keys before the branches + width, size]``.
        """
        rows, heads, keys, size = states.shape
        branch_tokens = self.count * self.width
        shared, own = states.split([keys - branch_tokens, branch_tokens], dim=2)
        # The expanded prefix is not a copy, so that its states are written once.
        shared = shared[:, None].expand(-1, self.count, -1, -1, -1)
        own = own.reshape(rows, heads, self.count, self.width, size).transpose(1, 2)
        return torch.cat([shared, own], dim=3).flatten(0, 1)


def shared_prefix_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention within prefix and branches; sdpa for any other mask.

    Args:
        module: the attention layer.
        query: ``[rows, heads, tokens, head size]``.
        key: ``[rows, key heads, keys, head size]``; keys of earlier positions, as in prefix tuning, come before the keys
            of the tokens.
        value: the shape of ``key``.
        attention_mask: a mask of `SharedPrefixLayout.as_mask`, or any mask of sdpa.
        kwargs: further arguments of `sdpa_attention_forward`.

    Returns:
        ``[rows, tokens, heads, head size]``, and None for the attention weights, as transformers expects.

    Raises:
        ValueError: the layer has a position bias, which is not supported with a shared prefix.
    """
    layout = SharedPrefixLayout.from_mask(attention_mask, query.shape[2])
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    if kwargs.get("position_bias") is not None:
        raise ValueError(
            "This layer has a position bias, which is not defined for questions that share a prefix: set "
            "batch.shared_prefix=false."
        )
    earlier = key.shape[2] - query.shape[2]
    prefix_width = layout.prefix.shape[1]
    # A window wider than a row has no effect.
    window = kwargs.get("sliding_window") or key.shape[2]
    visible = layout.visible_keys().to(query.device)
    if window < key.shape[2]:
        visible = layout.visible_in_window(visible, earlier, window)
    else:
        visible = nn.functional.pad(visible, (earlier, 0), value=True)
    # Without trees, the branches of a row have one mask, which is broadcast if there is only one row.
    if layout.ends is None and len(query) > 1:
        visible = visible.repeat_interleave(layout.count, dim=0)
    prefix, _ = sdpa_attention_forward(
        module,
        query[:, :, :prefix_width],
        key[:, :, : prefix_width + earlier],
        value[:, :, : prefix_width + earlier],
        _causal_mask(earlier, prefix_width, window, query.device),
        **kwargs,
    )
    branches = _attention_in_chunks(
        module,
        layout.split_branches(query[:, :, prefix_width:]),
        layout.copy_to_branches(key),
        layout.copy_to_branches(value),
        visible,
        **kwargs,
    )
    rows, heads, _, size = query.shape
    branches = branches.reshape(rows, layout.count * layout.width, heads, size)
    return torch.cat([prefix, branches], dim=1), None


def _attention_in_chunks(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    visible: torch.Tensor,
    **kwargs: Any,
) -> torch.Tensor:
    """Compute sdpa attention for `CHUNK` queries at a time; the queries are at the positions of the last keys.

    sdpa also computes masked pairs. Later keys are therefore left out.
    """
    width = query.shape[2]
    front = key.shape[2] - width
    chunks = []
    for start in range(0, width, CHUNK):
        end = min(start + CHUNK, width)
        keys, values = key[:, :, : front + end], value[:, :, : front + end]
        mask = visible[:, :, start:end, : front + end]
        output, _ = sdpa_attention_forward(
            module, query[:, :, start:end], keys, values, mask, **kwargs
        )
        chunks.append(output)
    return torch.cat(chunks, dim=1) if len(chunks) > 1 else chunks[0]


def _causal_mask(
    earlier: int, tokens: int, window: int, device: torch.device
) -> torch.Tensor | None:
    """A causal mask after earlier keys, with a sliding window: bool ``[1, 1, tokens, earlier + tokens]``.

    None if it equals the causal attention of sdpa.
    """
    if not earlier and window >= tokens:
        return None
    mask = torch.ones(tokens, earlier + tokens, dtype=torch.bool, device=device)
    return mask.tril(diagonal=earlier).triu(diagonal=earlier - window + 1)[None, None]


def register() -> None:
    """Register the attention with transformers under `NAME`; a second call has no effect."""
    AttentionInterface.register(NAME, shared_prefix_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)

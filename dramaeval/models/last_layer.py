"""The language model's last layer, at the positions that are read and at no others.

What the last layer makes of a token goes to the head and nowhere else, and the head reads the answers alone.
All positions still need their keys and values there, for the answers look at them; queries, the attention's
output and the feed-forward pass are left out wherever nothing is read. Values and gradients are the same as
without.

The layer's own `forward` stays transformers': it is given fewer positions, and an attention that looks from
them at all the others.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from dramaeval.models import branches

#: Architectures whose attention is that of Llama, with or without norms of its heads. Each is tested.
KINDS = ("Granite", "Llama", "Mistral", "Qwen2", "Qwen2_5Omni", "Qwen3")


@dataclass(frozen=True)
class Places:
    """The positions of a batch that are read.

    Attributes:
        positions: int64 ``[rows, places]``, as many as the row that is read most has; the others repeat 0.
        row: int64 ``[answers]``, the row of each answer.
        place: int64 ``[answers]``, its column in ``positions``.
    """

    positions: torch.Tensor
    row: torch.Tensor
    place: torch.Tensor

    @classmethod
    def of(cls, read_at: torch.Tensor, rows: int) -> Places:
        """From ``[answers, 2]``, the row and the position of each."""
        row, position = read_at.unbind(-1)
        counted = nn.functional.one_hot(row, rows).cumsum(0)
        place = counted.gather(1, row[:, None])[:, 0] - 1
        positions = position.new_zeros(rows, int(counted[-1].max()))
        positions[row, place] = position
        return cls(positions, row, place)

    def of_states(self, states: torch.Tensor) -> torch.Tensor:
        """``[rows (or one for all), tokens, size]`` at the places: ``[rows, places, size]``."""
        rows = torch.arange(len(self.positions), device=states.device)[:, None]
        return states.expand(len(self.positions), -1, -1)[rows, self.positions]


@dataclass(frozen=True)
class _Seen:
    """What the places look at: every position's normalised state and rotation."""

    states: torch.Tensor
    rotations: tuple[torch.Tensor, torch.Tensor]
    positions: torch.Tensor


class ReadLayer(nn.Module):
    """Mixed into a decoder layer in front of it; see `read_last`."""

    input_layernorm: nn.Module

    def forward(
        self, hidden_states: torch.Tensor, *args: Any, read_at: Any = None, **kwargs: Any
    ) -> Any:
        """transformers' pass; with ``read_at [answers, 2]`` at these alone, ``[1, answers, hidden]``."""
        if read_at is None:
            return super().forward(hidden_states, *args, **kwargs)
        places = Places.of(read_at.to(hidden_states.device), hidden_states.shape[0])
        cos, sin = rotations = kwargs.pop("position_embeddings")
        made = super().forward(
            places.of_states(hidden_states),
            *args,
            position_embeddings=(places.of_states(cos), places.of_states(sin)),
            seen=_Seen(self.input_layernorm(hidden_states), rotations, places.positions),
            **kwargs,
        )
        return made[places.row, places.place][None]


class ReadAttention(nn.Module):
    """Mixed into such a layer's attention: few positions look at all of them."""

    o_proj: nn.Module

    def forward(
        self, hidden_states: torch.Tensor, *args: Any, seen: Any = None, **kwargs: Any
    ) -> Any:
        """transformers' pass; with ``seen`` from the given positions ``[rows, places, hidden]`` at those."""
        if seen is None:
            return super().forward(hidden_states, *args, **kwargs)
        return self._look(hidden_states, seen, **kwargs), None

    def _look(
        self,
        hidden_states: torch.Tensor,
        seen: _Seen,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: Any = None,
        past_key_values: Any = None,
        **_: Any,
    ) -> torch.Tensor:
        rotate = sys.modules[type(self).__module__].apply_rotary_pos_emb
        query, key = self._heads("q", hidden_states), self._heads("k", seen.states)
        # transformers rotates queries and keys at the same positions; here either comes alone.
        query, _ = rotate(query, query[:, :0], *position_embeddings)
        _, key = rotate(key[:, :0], key, *seen.rotations)
        value = self._heads("v", seen.states)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        found, _ = sdpa_attention_forward(
            self,
            query,
            key,
            value,
            _visible(attention_mask, seen.positions, seen.states.shape[1], key.shape[2]),
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
        )
        return self.o_proj(found.flatten(2))

    def _heads(self, kind: str, states: torch.Tensor) -> torch.Tensor:
        """``[rows, heads, positions, head size]`` of queries (``q``), keys or values."""
        made = getattr(self, f"{kind}_proj")(states).unflatten(-1, (-1, self.head_dim))
        norm = getattr(self, f"{kind}_norm", None)
        return (made if norm is None else norm(made)).transpose(1, 2)


def _visible(mask: Any, positions: torch.Tensor, tokens: int, keys: int) -> torch.Tensor:
    """Which keys each place sees: bool ``[rows, 1, places, keys]``.

    Args:
        mask: as the layer is given it: none, a layout of branches, or one of every pair of positions.
        positions: int64 ``[rows, places]``.
        tokens: of a row.
        keys: of a row; those that are more than its tokens stand in front, and everyone sees them.
    """
    layout = branches.layout_of(mask, tokens)
    if mask is not None and layout is None:
        return mask.expand(len(positions), -1, -1, -1).take_along_dim(
            positions[:, None, :, None], dim=2
        )
    at = torch.arange(tokens, device=positions.device)
    own = positions[:, :, None]
    found = at <= own
    if layout is not None:
        found = found & layout.within(own, at)
    return nn.functional.pad(found, (keys - tokens, 0), value=True)[:, None]


@cache
def _mixed(first: Any, plain: Any) -> Any:
    # Under the plain class's name and module: transformers and accelerate look layers up by them.
    return type(plain.__name__, (first, plain), {"__module__": plain.__module__})


def read_last(decoder: nn.Module) -> None:
    """Let a language model's last layer be computed where it is read, if its architecture is a tested one.

    It changes the classes of that layer and its attention, not a weight, and nothing of a pass without
    ``read_at``.
    """
    layer = _last_of(decoder)
    known = {f"{kind}DecoderLayer" for kind in KINDS}
    if type(layer).__name__ not in known or has_read_layer(decoder):
        return
    if not type(layer).__module__.startswith("transformers."):
        return
    attention = layer.self_attn
    # Mistral's attention asks the configuration, Qwen's knows its own layer's.
    if getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None)):
        return
    for module, reading in ((attention, ReadAttention), (layer, ReadLayer)):
        module.__class__ = _mixed(reading, module.__class__)


def is_read(decoder: nn.Module) -> bool:
    """Whether a pass of this language model may be given ``read_at``.

    Only with the judge's own attention: what others make of a mask is not known here.
    """
    config: Any = decoder.config
    return config._attn_implementation == branches.NAME and has_read_layer(decoder)


def has_read_layer(decoder: nn.Module) -> bool:
    """Whether `read_last` found an architecture that it knows."""
    return isinstance(_last_of(decoder), ReadLayer)


def _last_of(decoder: nn.Module) -> Any:
    layers = getattr(decoder, "layers", None)
    return layers[-1] if isinstance(layers, nn.ModuleList) and len(layers) else None

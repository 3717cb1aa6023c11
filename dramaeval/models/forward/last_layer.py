"""The language model's last layer, at the positions that are read and at no others.

What the last layer makes of a token goes to the head and nowhere else, and the head reads the answers alone.
All positions still need their keys and values there, for the answers look at them; queries, the attention's
output and the feed-forward pass are left out wherever nothing is read. Values and gradients are the same as
without (dropout draws other numbers).

The layer's own `forward` stays transformers': it is given fewer positions, and an attention that looks from
them at all the others. `prepare` changes the classes of a decoder's last layer and of its attention for that,
in architectures that are known, and `proved` compares both ways on the loaded weights.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from dramaeval.models.forward import shared_prefix as branches
from dramaeval.models.forward.places import Places

#: Architectures whose attention is that of Llama, with or without norms of its heads. Each is tested.
KINDS = ("Granite", "Llama", "Mistral", "Qwen2", "Qwen2_5Omni", "Qwen3")
#: Tokens of the rows that `proved` draws, and what is read of them.
_TOKENS, _READ = 8, ((0, 2), (0, 7), (1, 5))
#: What a decoder tells its layers and this attention has no use for.
_OF_NO_USE = {"position_ids", "use_cache", "cache_position"}


@dataclass(frozen=True)
class _Seen:
    """What the places look at: every position's normalised state ``[rows, tokens, hidden]`` and rotation."""

    states: torch.Tensor
    rotations: tuple[torch.Tensor, torch.Tensor]
    places: Places


class _Mixed(nn.Module):
    """In front of a class of transformers, under that class's name."""

    #: Both classes.
    mixed: tuple[Any, Any]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made in `_mixed`, and not to be found by its name.
        return _remade, type(self).mixed, self.__dict__


class ReadLayer(_Mixed):
    """Mixed into a decoder layer in front of it; see `prepare`."""

    input_layernorm: nn.Module

    def forward(
        self,
        hidden_states: torch.Tensor,
        *args: Any,
        read_at: Places | None = None,
        **kwargs: Any,
    ) -> Any:
        """transformers' pass; with ``read_at`` at these places alone, ``[1, answers, hidden]``."""
        if read_at is None:
            return super().forward(hidden_states, *args, **kwargs)
        places = read_at.to(hidden_states.device)
        cos, sin = rotations = kwargs.pop("position_embeddings")
        made = super().forward(
            places.of_states(hidden_states),
            *args,
            position_embeddings=(places.of_states(cos), places.of_states(sin)),
            seen=_Seen(self.input_layernorm(hidden_states), rotations, places),
            **kwargs,
        )
        return places.of_answers(made)


class ReadAttention(_Mixed):
    """Mixed into such a layer's attention: few positions look at all of them."""

    o_proj: nn.Module

    def forward(
        self, hidden_states: torch.Tensor, *args: Any, seen: _Seen | None = None, **kwargs: Any
    ) -> Any:
        """transformers' pass; with ``seen`` from the given positions ``[groups, places, hidden]`` at those."""
        if seen is None:
            return super().forward(hidden_states, *args, **kwargs)
        return self._look(hidden_states, seen, **kwargs), None

    def _look(
        self,
        hidden_states: torch.Tensor,
        seen: _Seen,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: Any = None,
        cache: Any = None,
        **others: Any,
    ) -> torch.Tensor:
        unknown = [name for name, value in others.items() if value is not None]
        if set(unknown) - _OF_NO_USE:
            raise ValueError(
                f"{type(self).__name__} is given {', '.join(sorted(set(unknown) - _OF_NO_USE))}, which the "
                "last layer does not know where it is read alone: set model.plain=[last_layer]."
            )
        rotate = sys.modules[type(self).__module__].apply_rotary_pos_emb
        query, key = self._heads("q", hidden_states), self._heads("k", seen.states)
        # transformers rotates queries and keys at the same positions; here either comes alone.
        query, _ = rotate(query, query[:, :0], *position_embeddings)
        _, key = rotate(key[:, :0], key, *seen.rotations)
        value = self._heads("v", seen.states)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        key, value = seen.places.keys(key), seen.places.keys(value)
        found, _ = sdpa_attention_forward(
            self,
            query,
            key,
            value,
            seen.places.visible(attention_mask, seen.states.shape[1], key.shape[2]),
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
        )
        return self.o_proj(found.flatten(2))

    def _heads(self, kind: str, states: torch.Tensor) -> torch.Tensor:
        """``[rows, heads, positions, head size]`` of queries (``q``), keys or values."""
        made = getattr(self, f"{kind}_proj")(states).unflatten(-1, (-1, self.head_dim))
        norm = getattr(self, f"{kind}_norm", None)
        return (made if norm is None else norm(made)).transpose(1, 2)


@functools.cache
def _mixed(own: Any, theirs: Any) -> Any:
    # Under the name and module of theirs: transformers and accelerate look layers up by them.
    values = {"__module__": theirs.__module__, "mixed": (own, theirs)}
    return type(theirs.__name__, (own, theirs), values)


def _remade(own: Any, theirs: Any) -> Any:
    made = _mixed(own, theirs)
    return made.__new__(made)


def prepare(decoder: nn.Module) -> None:
    """Let a decoder's last layer take ``read_at``, if its architecture is a known one.

    It changes the classes of that layer and its attention, not a weight, and nothing of a pass without
    ``read_at``.
    """
    layer = _last_of(decoder)
    known = {f"{kind}DecoderLayer" for kind in KINDS}
    if type(layer).__name__ not in known or is_prepared(decoder):
        return
    if not type(layer).__module__.startswith("transformers."):
        return
    attention = layer.self_attn
    # Mistral's attention asks the configuration, Qwen's knows its own layer's.
    if getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None)):
        return
    for module, own in ((attention, ReadAttention), (layer, ReadLayer)):
        module.__class__ = _mixed(own, module.__class__)


def is_prepared(decoder: nn.Module) -> bool:
    """Whether `prepare` found an architecture that it knows."""
    return isinstance(_last_of(decoder), ReadLayer)


def takes_places(decoder: nn.Module) -> bool:
    """Whether a pass of this decoder may be given ``read_at``.

    Only with the judge's own attention: what others make of a mask is not known here.
    """
    config: Any = decoder.config
    return config._attn_implementation == branches.NAME and is_prepared(decoder)


def proved(decoder: Any) -> bool:
    """Whether the last layer says the same of some positions as of all, on drawn states.

    Later versions of transformers may do more in a class of the same name. True without a look where the
    weights are not at hand (partitioned by ZeRO-3, or left on disk).
    """
    layer = _last_of(decoder)
    weights = list(layer.parameters())
    if any(weight.is_meta or hasattr(weight, "ds_id") for weight in weights):
        return True
    norm = layer.input_layernorm.weight
    shape = (2, _TOKENS, decoder.config.get_text_config().hidden_size)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    states = drawn.to(norm.device, norm.dtype)
    rotations = decoder.rotary_emb(states, torch.arange(_TOKENS, device=norm.device)[None])
    read_at = torch.tensor(_READ, device=norm.device)
    try:
        with torch.no_grad():
            whole = layer(states, attention_mask=None, position_embeddings=rotations)
            places = Places.of(read_at, len(states))
            # With a cache, as prefix tuning and writing have one: what it is called has changed before.
            found = layer(
                states, position_embeddings=rotations, cache=DynamicCache(), read_at=places
            )[0]
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return False
    row, position = read_at.unbind(-1)
    apart = (found.float() - whole[row, position].float()).abs().max()
    allowed = 1e-3 if norm.dtype == torch.float32 else 0.05
    return bool(apart <= allowed * whole.float().std())


def _last_of(decoder: nn.Module) -> Any:
    layers = getattr(decoder, "layers", None)
    return layers[-1] if isinstance(layers, nn.ModuleList) and len(layers) else None

"""Attention of questions that share a prefix, at the sizes of one layer of the 7B."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.session import Session
from benchmarks.sections import Figure
from dramaeval.models.forward.shared_prefix import SharedPrefixLayout, shared_prefix_attention

#: Outputs go up to 5, where bfloat16 has steps of 0.03; a wrong pair changes them by about 1.
TOLERANCE = 0.06
#: Queries, keys and values ``[rows, heads, tokens, head size]``.
States = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Layer(nn.Module):
    """What transformers' attention functions read of an attention layer."""

    is_causal = True
    num_key_value_groups = 1


def attention(session: Session) -> Iterator[Figure]:
    """The chunked path of dramaeval, FlexAttention, and one row per question with sdpa and flash attention.

    Raises:
        ValueError: an output is further from float32 than rounding explains.
    """
    heads, size = (2, 16) if session.dry else (32, 128)
    prefix, count, width = (40, 3, 12) if session.dry else (900, 10, 96)
    real = torch.ones(1, prefix, dtype=torch.bool, device=session.device)
    real[:, -5:] = False  # padding of the prefix
    layout = SharedPrefixLayout(real, count, width)
    torch.manual_seed(0)
    tokens = prefix + count * width
    states = _random_states(1, heads, tokens, size, device=session.device)
    shown = torch.cat([real[0], real.new_ones(count * width)])
    # The same numbers in float32 with a mask of all pairs.
    query, key, value = (part.float() for part in states)
    wanted = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=visible(layout)[None, None]
    )[:, :, shown]
    kinds: dict[str, Callable[..., torch.Tensor]] = {
        "chunked": lambda *given: _chunked(layout, *given)
    }
    kinds["FlexAttention"] = _flex(layout, session)
    for name, compute in kinds.items():
        apart = float((compute(*states)[:, :, shown].float() - wanted).abs().max())
        yield Figure(name=f"{name}: largest difference from float32", value=apart)
        if apart > TOLERANCE:
            raise ValueError(f"{name} differs by {apart:.2g} from attention in float32")
        yield from _timed(session, name, compute, states)
    rows = _random_states(count, heads, prefix + width, size, device=session.device)
    yield from _timed(session, "one row per question, sdpa", _causal, rows)
    if session.device.type == "cuda" and find_spec("flash_attn") is not None:
        yield from _timed(session, "one row per question, flash attention", _flash, rows)
    else:
        yield Figure(
            name="one row per question, flash attention", value="not run", note="needs flash-attn"
        )


def _timed(
    session: Session, name: str, compute: Callable[..., torch.Tensor], states: States
) -> Iterator[Figure]:
    with torch.no_grad():
        yield Figure(
            name=f"{name}: forward", value=1e3 * session.time(lambda: compute(*states)), unit="ms"
        )
    if session.device.type != "cuda" and name == "FlexAttention":
        return  # it has no backward pass on a CPU
    leaves = tuple(part.clone().requires_grad_() for part in states)
    both = session.time(lambda: compute(*leaves).float().sum().backward())
    yield Figure(name=f"{name}: forward and backward", value=1e3 * both, unit="ms")


def visible(layout: SharedPrefixLayout) -> torch.Tensor:
    """The pairs of a layout of one row without trees: bool ``[tokens, tokens]``, query by key."""
    prefix = layout.prefix.shape[1]
    tokens = prefix + layout.count * layout.width
    place = torch.arange(tokens, device=layout.prefix.device)
    branch = (place - prefix).div(layout.width, rounding_mode="floor").clamp(min=-1)
    real = torch.cat([layout.prefix[0], layout.prefix.new_ones(tokens - prefix)])
    in_prefix = branch < 0
    same = branch[:, None] == branch[None]
    return (place[None] <= place[:, None]) & (same | (in_prefix & real)[None])


def _random_states(*shape: int, device: torch.device) -> States:
    """Queries, keys and values of the same shape."""
    query, key, value = torch.randn(3, *shape, device=device, dtype=torch.bfloat16)
    return query, key, value


def _chunked(
    layout: SharedPrefixLayout, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    output, _ = shared_prefix_attention(Layer(), query, key, value, layout.as_mask())
    return output.transpose(1, 2)


def _flex(layout: SharedPrefixLayout, session: Session) -> Callable[..., torch.Tensor]:
    """FlexAttention with a block mask of the layout, compiled on a GPU."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    prefix, width = layout.prefix.shape[1], layout.width
    tokens = prefix + layout.count * width
    real = nn.functional.pad(layout.prefix, (0, tokens - prefix), value=True)

    def seen(row: Any, _: Any, query: Any, key: Any) -> Any:
        same = (query - prefix) // width == (key - prefix) // width
        within = (query >= prefix) & (key >= prefix) & same
        before = (key < prefix) & (real[row, key] | (query < prefix))
        return (key <= query) & (within | before)

    mask = create_block_mask(seen, 1, None, tokens, tokens, device=session.device.type)
    function: Any = (
        torch.compile(flex_attention) if session.device.type == "cuda" else flex_attention
    )
    return lambda *states: function(*states, block_mask=mask)


def _causal(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)


def _flash(*states: torch.Tensor) -> torch.Tensor:
    from flash_attn import flash_attn_func

    return flash_attn_func(*(part.transpose(1, 2) for part in states), causal=True).transpose(1, 2)

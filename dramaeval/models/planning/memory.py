"""Memory of a training process, estimated from the architecture.

Weights, gradients and optimizer states follow Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054, section 3). Activations
are the tensors of a layer, counted one by one as in Korthikanti et al. 2022 (arXiv 2205.05198, section 4), without the
attention matrices, which fused attention does not keep.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Adam keeps two moments in float32.
_ADAM_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes of one process; ``in_host`` names the fields that are kept in the host's memory."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    in_host: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """Bytes on the process's device."""
        kinds = ("weights", "gradients", "optimizer", "activations")
        return sum(getattr(self, kind) for kind in kinds if kind not in self.in_host)

    @property
    def host(self) -> float:
        """Bytes in the host's memory."""
        return sum(getattr(self, kind) for kind in self.in_host)


def estimate(
    *,
    total: int,
    trainable: int,
    bytes_per_weight: int,
    tokens: int,
    hidden: int,
    layers: int,
    inner: int,
    copied: int = 0,
    audio: float = 0.0,
    checkpointing: bool = False,
    stage: int = 0,
    processes: int = 1,
    offload: tuple[bool, bool] = (False, False),
) -> MemoryEstimate:
    """Estimate the memory of one process.

    Args:
        total: parameters of the model with its adapters.
        trainable: parameters that are trained.
        bytes_per_weight: 4 for float32, 2 for bfloat16.
        tokens: positions in one forward pass, padding included.
        hidden: width of the language model.
        layers: its layers.
        inner: width of its gated feed-forward layers.
        copied: positions whose keys and values are copied for questions that share them.
        audio: bytes that a trained audio tower keeps, see `Shape.tower_bytes`.
        checkpointing: whether activations are computed again in the backward pass.
        stage: ZeRO stage; 0 for none.
        processes: processes that share the work.
        offload: whether the optimizer's states and whether the weights are kept in host memory. The gathered weights
            of one layer, which stage 3 needs on the device, are not counted.
    """
    shares = [1.0 / processes if stage >= least else 1.0 for least in (3, 2, 1)]
    # Both norms' inputs and outputs, queries, keys, values, the attention's output twice (9 of the hidden width); gate,
    # its activation, up, their product (4 of the inner); copied keys and values.
    units = tokens * (9 * hidden + 4 * inner) + 2 * copied * hidden
    per_layer = units * bytes_per_weight
    # With checkpointing each layer keeps its input, and one layer at a time is computed again.
    inputs = layers * tokens * hidden * bytes_per_weight
    activations = inputs + per_layer if checkpointing else layers * per_layer
    return MemoryEstimate(
        weights=total * bytes_per_weight * shares[0],
        gradients=trainable * bytes_per_weight * shares[1],
        optimizer=trainable * _ADAM_BYTES * shares[2],
        activations=activations + audio,
        in_host=tuple(
            kind for kind, out in zip(("optimizer", "weights"), offload, strict=True) if out
        ),
    )


def readable(size: float) -> str:
    """A number of bytes with its unit: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"

"""Estimates the memory of a training process from the architecture.

Weights, gradients and optimizer states follow Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054, section 3). Activations
are counted tensor by tensor, as in Korthikanti et al. 2022 (arXiv 2205.05198, section 4), without the attention
matrices, which fused attention does not store.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Bytes of Adam's two moments in float32.
_ADAM_BYTES = 8
#: Resident size of Python with PyTorch, Transformers and PEFT before any weight is loaded; 0.74 GiB was measured.
PROGRAM_BYTES = 0.7 * 2**30
KINDS = ("weights", "gradients", "optimizer", "activations", "program")
"""The kinds of memory, in the order of the plan."""


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes of one process by kind; ``in_host`` names the kinds that are in the memory of the machine, not the GPU.

    ``program`` is Python and its libraries, which count where the model is in the memory of the machine.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    program: float = 0.0
    in_host: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """Bytes on the device of the process."""
        return sum(getattr(self, kind) for kind in KINDS if kind not in self.in_host)

    @property
    def host(self) -> float:
        """Bytes in the memory of the machine that are not on the device."""
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
    logits: int = 0,
    checkpointing: bool = False,
    stage: int = 0,
    processes: int = 1,
    offload: tuple[bool, bool] = (False, False),
    float_adapter: bool = False,
) -> MemoryEstimate:
    """Estimate the memory of one process.

    Args:
        total: number of parameters of the model with its adapters.
        trainable: number of trained parameters.
        bytes_per_weight: 4 for float32, 2 for bfloat16.
        tokens: number of positions in one forward pass, with padding.
        hidden: width of the language model.
        layers: number of layers of the language model.
        inner: width of the gated feed-forward layers.
        copied: number of positions of copied keys and values, see `Work.copied`.
        audio: bytes that a trained audio tower stores, see `Shape.tower_bytes`.
        logits: number of logits of the answers. The loss stores them once as computed, and in float32 with their
            gradients.
        checkpointing: whether activations are computed again in the backward pass.
        stage: ZeRO stage; 0 for none.
        processes: number of processes that share the work.
        offload: whether the optimizer's states are in the memory of the machine, and whether the weights are. The
            gathered weights of one layer, which stage 3 needs on the device, are not counted.
        float_adapter: whether the trained weights are adapters in float32 in a model of 16 bits, as PEFT creates them:
            each adapted projection then stores its input in float32 too.
    """
    shares = [1.0 / processes if stage >= least else 1.0 for least in (3, 2, 1)]
    # 9 tensors of the hidden width: inputs and outputs of both norms, queries, keys, values, the output of the attention
    # twice. 4 tensors of the inner width: gate, its activation, up, their product. Then the copied keys and values.
    units = tokens * (9 * hidden + 4 * inner) + 2 * copied * hidden
    per_layer = units * bytes_per_weight
    trained_bytes = bytes_per_weight
    if float_adapter:
        trained_bytes = 4
        # The inputs of the query, key, value, output, gate and up projections, and of the down projection.
        per_layer += tokens * (6 * hidden + inner) * 4
    # With checkpointing, each layer stores only its input, and one layer at a time is computed again.
    inputs = layers * tokens * hidden * bytes_per_weight
    activations = inputs + per_layer if checkpointing else layers * per_layer
    return MemoryEstimate(
        weights=((total - trainable) * bytes_per_weight + trainable * trained_bytes) * shares[0],
        gradients=trainable * trained_bytes * shares[1],
        optimizer=trainable * _ADAM_BYTES * shares[2],
        activations=activations + audio + logits * (bytes_per_weight + 8),
        in_host=tuple(
            kind for kind, out in zip(("optimizer", "weights"), offload, strict=True) if out
        ),
    )


def readable(size: float) -> str:
    """Format a number of bytes with a unit: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"

"""Computes the floating-point operations of a judge's pass and of a training step from the architecture.

A matrix product of [a, b] and [b, c] counts 2abc operations; other operations are not counted. Attention counts every
computed pair of positions, masked or not, as in `torch.utils.flop_counter`. The gradients of the inputs need the
operations of a forward pass, and the gradients of trained weights need as many again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dramaeval.models.forward.shared_prefix import CHUNK


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of an architecture: a decoder, and before it an audio tower of two convolutions and layers, or a projector alone.

    Attributes:
        hidden: width of the language model.
        layers: number of layers of the language model.
        queries: width of all query heads together.
        keys: width of all key heads together.
        inner: width of the feed-forward layers.
        vocabulary: number of rows of the head.
        audio: width of the audio tower, or of the projector's input without a tower; 0 for a text model.
        audio_layers: number of layers of the audio tower; 0 without a tower.
        audio_inner: width of the feed-forward layers of the audio tower.
        mel_bins: number of mel bins of its input.
    """

    hidden: int
    layers: int
    queries: int
    keys: int
    inner: int
    vocabulary: int
    audio: int = 0
    audio_layers: int = 0
    audio_inner: int = 0
    mel_bins: int = 0

    @classmethod
    def of(cls, configuration: Any, **others: int) -> Shape:
        """Read the shape from a transformers configuration.

        Args:
            configuration: the configuration of a model with Whisper's encoder or without an encoder.
            others: sizes that replace those of the configuration; ``audio`` requires all sizes of the encoder, and
                ``queries`` requires ``keys``.
        """
        text = configuration.get_text_config()
        sizes = {
            "hidden": text.hidden_size,
            "layers": text.num_hidden_layers,
            "inner": getattr(text, "intermediate_size", 4 * text.hidden_size),
            "vocabulary": text.vocab_size,
        }
        if "queries" not in others:
            heads = text.num_attention_heads
            size = getattr(text, "head_dim", None) or text.hidden_size // heads
            sizes["queries"] = heads * size
            sizes["keys"] = (getattr(text, "num_key_value_heads", None) or heads) * size
        audio = getattr(configuration, "audio_config", None)
        if audio is not None and "audio" not in others:
            sizes |= {
                "audio": getattr(audio, "d_model", None) or audio.hidden_size,
                "audio_layers": getattr(audio, "encoder_layers", None) or audio.num_hidden_layers,
                "audio_inner": getattr(audio, "encoder_ffn_dim", None) or audio.intermediate_size,
                "mel_bins": audio.num_mel_bins,
            }
        return cls(**(sizes | others))

    @property
    def layer_weights(self) -> int:
        """The number of weights in the matrices of one decoder layer."""
        attention = self.hidden * (2 * self.queries + 2 * self.keys)
        return attention + 3 * self.hidden * self.inner

    def tower_bytes(self, frames: int, bytes_per_weight: int) -> float:
        """The number of bytes that the encoder stores for its backward pass over these mel frames.

        For each step of two frames, a layer stores 8 tensors of its width and 2 of its inner width, and the two
        convolutions together store 6 tensors of the width.
        """
        if not self.audio_layers:
            return 0.0
        step = self.audio_layers * (8 * self.audio + 2 * self.audio_inner) + 6 * self.audio
        return frames / 2 * step * bytes_per_weight

    def adapter_weights(self, rank: int) -> int:
        """The number of weights that LoRA with this rank adds to the seven projections of the language model's layers."""
        attention = 2 * (self.hidden + self.queries) + 2 * (self.hidden + self.keys)
        return self.layers * rank * (attention + 3 * (self.hidden + self.inner))


@dataclass(frozen=True, kw_only=True)
class Work:
    """The size of a pass for one clip.

    Attributes:
        prefix: number of tokens that the questions about the clip share.
        branches: number of questions; 1 if nothing is shared.
        width: number of tokens of a branch.
        frames: number of mel frames of the clip.
        answers: number of answer positions in each branch.
    """

    prefix: int
    branches: int
    width: int
    frames: int = 0
    answers: int = 1

    @property
    def tokens(self) -> int:
        """The number of positions that the language model computes."""
        return self.prefix + self.branches * self.width

    @property
    def shared(self) -> bool:
        """Whether the questions are one row of a prefix and branches."""
        return self.branches > 1 and self.prefix > 0

    @property
    def copied(self) -> int:
        """The number of positions of keys and values after the copy to the branches."""
        return self.branches * (self.prefix + self.width) if self.shared else 0

    @property
    def pairs(self) -> int:
        """The number of pairs of positions that attention computes, which has few masked pairs of branches."""
        chunk = CHUNK if self.shared else self.width
        within = sum(
            min(chunk, self.width - start) * min(start + chunk, self.width)
            for start in range(0, self.width, chunk or 1)
        )
        return self.prefix**2 + self.branches * (self.width * self.prefix + within)


def with_padding(work: Sequence[Work], clips: int, seed: int) -> list[Work]:
    """The sizes with the padding of passes of some clips in a random order: a clip is padded to the largest of its pass."""
    order = np.random.default_rng(seed).permutation(len(work))
    padded = []
    for start in range(0, len(order), clips):
        group = [work[number] for number in order[start : start + clips]]
        names = ["prefix", "width", "frames"]
        if all(each.shared for each in group):
            names.append("branches")  # otherwise each branch is a row of its own
        largest = {name: max(getattr(each, name) for each in group) for name in names}
        padded += [replace(each, **largest) for each in group]
    return padded


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Floating-point operations by part."""

    audio: float
    decoder: float
    attention: float
    head: float
    adapter: float = 0.0

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return self.audio + self.decoder + self.attention + self.head + self.adapter


def forward(
    shape: Shape, work: Sequence[Work], *, rank: int = 0, encodes_audio: bool = True
) -> Operations:
    """The operations of a forward pass.

    Args:
        shape: the shape of the judge.
        work: the sizes for each clip.
        rank: rank of LoRA adapters on the language model's projections; 0 for none.
        encodes_audio: false if the outputs of the audio tower are stored.
    """
    tokens = sum(clip.tokens for clip in work)
    answers = sum(clip.branches * clip.answers for clip in work)
    return Operations(
        audio=sum(_audio(shape, clip.frames) for clip in work) if encodes_audio else 0.0,
        decoder=2.0 * tokens * shape.layers * shape.layer_weights,
        attention=4.0 * shape.layers * sum(clip.pairs for clip in work) * shape.queries,
        head=2.0 * answers * shape.hidden * shape.vocabulary,
        adapter=2.0 * tokens * shape.adapter_weights(rank),
    )


def training_step(
    shape: Shape,
    work: Sequence[Work],
    *,
    rank: int = 0,
    encodes_audio: bool = True,
    trains_audio: bool | None = None,
    trains_inputs: bool | None = None,
    checkpointing: bool = False,
) -> Operations:
    """The operations of a forward and a backward pass.

    Args:
        shape: the shape of the judge.
        work: the sizes for each clip.
        rank: rank of LoRA adapters; 0 trains every weight.
        encodes_audio: false if the outputs of the audio tower are stored.
        trains_audio: whether the tower is trained; by default, only if every weight is trained.
        trains_inputs: whether a part before the first decoder layer is trained (tower, projector, embeddings, virtual
            tokens); by default, only if the tower is trained.
        checkpointing: whether the layers are computed a second time in the backward pass.
    """
    once = forward(shape, work, rank=rank, encodes_audio=encodes_audio)
    full = rank == 0
    audio = full if trains_audio is None else trains_audio
    inputs = audio if trains_inputs is None else trains_inputs
    passes = 3.0 if full else 2.0  # frozen matrices need no gradients of their weights
    recomputed = 1.0 if checkpointing else 0.0
    omitted = 0.0
    if not full and not inputs and not checkpointing:
        # Queries, keys and values of the first layer need no gradient of their input. With checkpointing this gradient
        # is computed, because the input of every layer requires a gradient.
        widths = 3.0 * rank + shape.queries + 2 * shape.keys
        omitted = 2.0 * sum(clip.tokens for clip in work) * shape.hidden * widths
    return Operations(
        audio=once.audio * (passes if audio else 1.0),
        decoder=once.decoder * (passes + recomputed) - omitted,
        attention=once.attention * (3.0 + recomputed),
        head=once.head * passes,
        adapter=once.adapter * (3.0 + recomputed),
    )


def _audio(shape: Shape, frames: int) -> float:
    """The operations of the encoder and the projector for the frames of a clip."""
    if not shape.audio or not frames:
        return 0.0
    width, steps = shape.audio, (frames - 1) // 2 + 1
    if not shape.audio_layers:
        return 2.0 * ((steps + 1) // 2) * width * shape.hidden
    convolutions = 2.0 * 3 * width * (frames * shape.mel_bins + steps * width)
    layer = 2.0 * steps * (4 * width**2 + 2 * width * shape.audio_inner) + 4.0 * steps**2 * width
    projector = 2.0 * (steps // 2) * width * shape.hidden
    return convolutions + shape.audio_layers * layer + projector

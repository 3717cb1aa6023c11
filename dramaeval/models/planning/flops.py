"""Floating-point operations of a judge's pass and of a training step, from the architecture alone.

A matrix product of [a, b] and [b, c] counts 2abc operations; other operations are not counted. Attention counts every
computed pair of positions, masked or not, as `torch.utils.flop_counter` does. A backward pass takes the operations of a
forward pass for the gradients of the inputs, and once more for the gradients of the weights where they are trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dramaeval.models.forward.shared_prefix import CHUNK


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of an architecture: a decoder, and an encoder with two convolutions or a projector alone before it.

    Attributes:
        hidden: width of the language model.
        layers: its layers.
        queries: width of all query heads.
        keys: width of all key heads.
        inner: width of its feed-forward layers.
        vocabulary: rows of its head.
        audio: width of the audio tower, or of the projector's input without one; 0 for a model of text alone.
        audio_layers: the tower's layers; 0 for a model without a tower.
        audio_inner: width of its feed-forward layers.
        mel_bins: its input.
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
        """The shape of a transformers configuration.

        Args:
            configuration: with Whisper's encoder, or without any.
            others: sizes in place of those that the configuration gives; with ``audio`` all of the encoder's, with
                ``queries`` also ``keys``.
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
        """Weights of the matrices of one decoder layer."""
        attention = self.hidden * (2 * self.queries + 2 * self.keys)
        return attention + 3 * self.hidden * self.inner

    def tower_bytes(self, frames: int, bytes_per_weight: int) -> float:
        """Bytes that the encoder keeps for its backward pass over so many mel frames.

        A layer keeps 8 tensors of its width and 2 of its inner width, the two convolutions together 6 of the width,
        for each step of two frames.
        """
        if not self.audio_layers:
            return 0.0
        step = self.audio_layers * (8 * self.audio + 2 * self.audio_inner) + 6 * self.audio
        return frames / 2 * step * bytes_per_weight

    def adapter_weights(self, rank: int) -> int:
        """Weights that LoRA of a rank adds to the language model's seven projections."""
        attention = 2 * (self.hidden + self.queries) + 2 * (self.hidden + self.keys)
        return self.layers * rank * (attention + 3 * (self.hidden + self.inner))


@dataclass(frozen=True, kw_only=True)
class Work:
    """The size of one clip's part of a pass.

    Attributes:
        prefix: tokens that its questions share.
        branches: questions; 1 where nothing is shared.
        width: tokens of a branch.
        frames: mel frames of the clip.
        answers: answer positions in each branch.
    """

    prefix: int
    branches: int
    width: int
    frames: int = 0
    answers: int = 1

    @property
    def tokens(self) -> int:
        """Positions that the language model computes."""
        return self.prefix + self.branches * self.width

    @property
    def shared(self) -> bool:
        """Whether the questions are one row of a prefix and branches."""
        return self.branches > 1 and self.prefix > 0

    @property
    def copied(self) -> int:
        """Positions whose keys and values are copied to the branches."""
        return self.branches * (self.prefix + self.width) if self.shared else 0

    @property
    def pairs(self) -> int:
        """Pairs of positions that attention computes; most masked pairs of branches are left out."""
        chunk = CHUNK if self.shared else self.width
        within = sum(
            min(chunk, self.width - start) * min(start + chunk, self.width)
            for start in range(0, self.width, chunk or 1)
        )
        return self.prefix**2 + self.branches * (self.width * self.prefix + within)


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
        """Their sum."""
        return self.audio + self.decoder + self.attention + self.head + self.adapter


def forward(
    shape: Shape, work: Sequence[Work], *, rank: int = 0, encodes_audio: bool = True
) -> Operations:
    """A forward pass.

    Args:
        shape: of the judge.
        work: one per clip.
        rank: of LoRA adapters on the language model's projections; 0 for none.
        encodes_audio: false where the audio tower's outputs are kept.
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
    """A forward and a backward pass.

    Args:
        shape: of the judge.
        work: one per clip.
        rank: of LoRA adapters; 0 trains every weight.
        encodes_audio: false where the audio tower's outputs are kept.
        trains_audio: whether the tower is trained; None: where every weight is.
        trains_inputs: whether anything before the first decoder layer is trained (tower, projector, embeddings, virtual
            tokens); None: where the tower is.
        checkpointing: whether the layers are computed a second time in the backward pass.
    """
    once = forward(shape, work, rank=rank, encodes_audio=encodes_audio)
    full = rank == 0
    audio = full if trains_audio is None else trains_audio
    inputs = audio if trains_inputs is None else trains_inputs
    passes = 3.0 if full else 2.0  # frozen matrices only pass gradients on
    recomputed = 1.0 if checkpointing else 0.0
    omitted = 0.0
    if not full and not inputs and not checkpointing:
        # Queries, keys and values of the first layer need no gradient of their input. With checkpointing it is
        # computed, because every layer's input requires a gradient.
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
    """Encoder and projector over a clip's frames."""
    if not shape.audio or not frames:
        return 0.0
    width, steps = shape.audio, (frames - 1) // 2 + 1
    if not shape.audio_layers:
        return 2.0 * ((steps + 1) // 2) * width * shape.hidden
    convolutions = 2.0 * 3 * width * (frames * shape.mel_bins + steps * width)
    layer = 2.0 * steps * (4 * width**2 + 2 * width * shape.audio_inner) + 4.0 * steps**2 * width
    projector = 2.0 * (steps // 2) * width * shape.hidden
    return convolutions + shape.audio_layers * layer + projector

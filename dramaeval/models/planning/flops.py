"""Floating-point operations of a judge's pass and of a training step, from the architecture alone.

A matrix product of [a, b] and [b, c] counts 2abc, everything else nothing; attention counts every pair of
positions that is computed, masked or not, as `torch.utils.flop_counter` does (a test compares the two). A
backward pass costs once more what leads to the inputs, and once more what leads to the weights where they are
trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dramaeval.models.forward.shared_prefix import CHUNK


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What of an architecture matters here: a decoder, and an encoder with two convolutions in front.

    Attributes:
        hidden: width of the language model.
        layers: its layers.
        queries: width of all query heads.
        keys: width of all key heads.
        inner: width of its feed-forward layers.
        vocabulary: rows of its head.
        reads_last: whether its last layer is computed where it is read alone (`dramaeval.models.forward.last_layer`).
        audio: width of the audio tower; 0 for a judge that only reads.
        audio_layers: its layers.
        audio_inner: width of its feed-forward layers.
        mel_bins: its input.
    """

    hidden: int
    layers: int
    queries: int
    keys: int
    inner: int
    vocabulary: int
    reads_last: bool
    audio: int = 0
    audio_layers: int = 0
    audio_inner: int = 0
    mel_bins: int = 0

    @classmethod
    def of(cls, configuration: Any, *, reads_last: bool) -> Shape:
        """The shape of a transformers configuration with Whisper's encoder, or without any."""
        text = configuration.get_text_config()
        heads = text.num_attention_heads
        size = getattr(text, "head_dim", None) or text.hidden_size // heads
        own = {
            "hidden": text.hidden_size,
            "layers": text.num_hidden_layers,
            "queries": heads * size,
            "keys": (getattr(text, "num_key_value_heads", None) or heads) * size,
            "inner": getattr(text, "intermediate_size", 4 * text.hidden_size),
            "vocabulary": text.vocab_size,
            "reads_last": reads_last,
        }
        audio = getattr(configuration, "audio_config", None)
        if audio is None:
            return cls(**own)
        return cls(
            **own,
            audio=getattr(audio, "d_model", None) or audio.hidden_size,
            audio_layers=getattr(audio, "encoder_layers", None) or audio.num_hidden_layers,
            audio_inner=getattr(audio, "encoder_ffn_dim", None) or audio.intermediate_size,
            mel_bins=audio.num_mel_bins,
        )

    @property
    def layer_weights(self) -> int:
        """Weights of a layer's matrices."""
        attention = self.hidden * (2 * self.queries + 2 * self.keys)
        return attention + 3 * self.hidden * self.inner

    @property
    def key_weights(self) -> int:
        """Those of them that make keys and values."""
        return 2 * self.hidden * self.keys

    def tower_bytes(self, frames: int, bytes_a_weight: int) -> float:
        """What the encoder keeps for its backward pass over so many mel frames.

        A layer keeps 8 tensors of its width and 2 of its inner width, the two convolutions together 6 of the
        width, at each step of two frames.
        """
        each = self.audio_layers * (8 * self.audio + 2 * self.audio_inner) + 6 * self.audio
        return frames / 2 * each * bytes_a_weight

    def adapter_weights(self, rank: int) -> int:
        """Weights that LoRA of a rank adds to the language model's seven projections."""
        others = 2 * (self.hidden + self.queries) + 3 * (self.hidden + self.inner)
        return self.layers * (rank * others + self.key_adapter_weights(rank))

    def key_adapter_weights(self, rank: int) -> int:
        """Those of them that one layer's keys and values have."""
        return 2 * rank * (self.hidden + self.keys)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one clip brings to a pass.

    Attributes:
        prefix: tokens that its questions share.
        branches: questions, each with tokens of its own; 1 where nothing is shared.
        width: tokens of a branch.
        frames: mel frames of its clip.
        answers: positions that are read in each branch.
    """

    prefix: int
    branches: int
    width: int
    frames: int = 0
    answers: int = 1

    @property
    def tokens(self) -> int:
        """Positions that pass through the language model."""
        return self.prefix + self.branches * self.width

    @property
    def shared(self) -> bool:
        """Whether all is one row of a prefix and branches."""
        return self.branches > 1 and self.prefix > 0

    @property
    def copied(self) -> int:
        """Positions whose keys and values are copied, so that every branch has its own."""
        return self.branches * (self.prefix + self.width) if self.shared else 0

    @property
    def pairs(self) -> int:
        """Pairs of positions that attention computes; branches leave out most of what they may not see."""
        chunk = CHUNK if self.shared else self.width
        own = sum(
            min(chunk, self.width - start) * min(start + chunk, self.width)
            for start in range(0, self.width, chunk or 1)
        )
        return self.prefix**2 + self.branches * (self.width * self.prefix + own)

    @property
    def read(self) -> int:
        """Positions that are read."""
        return self.branches * self.answers

    @property
    def read_pairs(self) -> int:
        """Pairs that attention computes where these alone look at what is in their row."""
        return self.read * (self.tokens if self.shared else self.prefix + self.width)


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
        """All of them."""
        return self.audio + self.decoder + self.attention + self.head + self.adapter


def forward(shape: Shape, work: Sequence[Work], *, rank: int = 0, hears: bool = True) -> Operations:
    """A pass over some clips' questions.

    Args:
        shape: of the judge.
        work: a clip each.
        rank: of LoRA adapters on the language model's projections; 0 for none.
        hears: false where the audio tower's outputs are there already.
    """
    tokens = sum(one.tokens for one in work)
    pairs = shape.layers * sum(one.pairs for one in work)
    read = sum(one.read for one in work)
    decoder = tokens * shape.layers * shape.layer_weights
    adapter = tokens * shape.adapter_weights(rank)
    if shape.reads_last:
        left_out = tokens - read
        pairs += sum(one.read_pairs - one.pairs for one in work)
        decoder -= left_out * (shape.layer_weights - shape.key_weights)
        a_layer = shape.adapter_weights(rank) // shape.layers
        adapter -= left_out * (a_layer - shape.key_adapter_weights(rank))
    return Operations(
        audio=sum(_audio(shape, one.frames) for one in work) if hears else 0.0,
        decoder=2.0 * decoder,
        attention=4.0 * pairs * shape.queries,
        head=2.0 * read * shape.hidden * shape.vocabulary,
        adapter=2.0 * adapter,
    )


def training_step(
    shape: Shape,
    work: Sequence[Work],
    *,
    rank: int = 0,
    hears: bool = True,
    trains_audio: bool | None = None,
    trains_inputs: bool | None = None,
    checkpointing: bool = False,
) -> Operations:
    """A pass forward and backward.

    Args:
        shape: of the judge.
        work: a clip each.
        rank: of LoRA adapters; 0 trains every weight.
        hears: false where the audio tower's outputs are there already.
        trains_audio: whether the tower is trained, as the rest is; None: where every weight is.
        trains_inputs: whether anything is trained that comes before the language model's first layer (tower,
            projector, embeddings, tokens in front); None: where the tower is.
        checkpointing: whether the layers are computed a second time in the backward pass.
    """
    once = forward(shape, work, rank=rank, hears=hears)
    full = rank == 0
    audio = full if trains_audio is None else trains_audio
    inputs_learn = audio if trains_inputs is None else trains_inputs
    weights = 3.0 if full else 2.0  # frozen matrices only hand gradients on
    again = 1.0 if checkpointing else 0.0
    unasked = 0.0
    if not full and not inputs_learn and not checkpointing:
        # The first layer's queries, keys and values hand no gradient on. (With layers that are computed again
        # they do: those are told that their inputs need one.)
        inputs = 3.0 * rank + shape.queries + 2 * shape.keys
        unasked = 2.0 * sum(one.tokens for one in work) * shape.hidden * inputs
    return Operations(
        audio=once.audio * (weights if audio else 1.0),
        decoder=once.decoder * (weights + again) - unasked,
        attention=once.attention * (3.0 + again),
        head=once.head * weights,
        adapter=once.adapter * (3.0 + again),
    )


def _audio(shape: Shape, frames: int) -> float:
    """Encoder and projector over a clip's true length."""
    if not shape.audio or not frames:
        return 0.0
    wide, half = shape.audio, (frames - 1) // 2 + 1
    convolutions = 2.0 * 3 * wide * (frames * shape.mel_bins + half * wide)
    layer = 2.0 * half * (4 * wide**2 + 2 * wide * shape.audio_inner) + 4.0 * half**2 * wide
    projector = 2.0 * (half // 2) * wide * shape.hidden
    return convolutions + shape.audio_layers * layer + projector

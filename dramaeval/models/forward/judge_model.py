"""The forward pass of a judge: from a batch of questions to the logits at the answer positions.

A transformers model computes logits for every token of every sequence; a judge needs only a few of them. The class of a
family inherits this pass from `JudgeModel`, and loading, saving and generation from a class of transformers with the
same name (see `OwnWeightNames`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.modeling_outputs import ModelOutput

from dramaeval.compat.peft import without_defaults
from dramaeval.compat.transformers import OwnWeightNames, cache_argument
from dramaeval.models.forward.shared_prefix import SharedPrefixLayout
from dramaeval.models.inputs.audio_encodings import AudioEncodingCache

if TYPE_CHECKING:
    from transformers import PreTrainedModel
else:
    PreTrainedModel = object

#: The key of a model's configuration that names the kind of head, and the value for a regression head.
HEAD = "judge_head"
REGRESSION = "regression"
#: The name of the module of a regression head.
SCORE_HEAD = "score_head"
#: The arguments of `JudgeModel.embed` that describe clips.
CLIP_INPUTS = (
    "input_features",
    "feature_frames",
    "clip_order",
    "clip_keys",
    "encoded_clips",
    "clip_windows",
)


@dataclass
class AnswerLogits(ModelOutput):
    """Logits ``[answers, vocabulary]`` in the order of ``answer_index``; ``[answers, 1]`` from a regression head.

    In training ``loss`` is 0, so that adapters can add to it (see `peft.AdaLoraModel.forward`).
    """

    logits: torch.Tensor | None = None
    loss: torch.Tensor | None = None


class FeatureMismatchError(ValueError):
    """The number of audio tokens in a prompt differs from the number of embeddings of its clips."""


class JudgeModel(OwnWeightNames, PreTrainedModel):
    """The first base class of a judge, before a class of transformers; families override `encode_audio`, `project_audio`.

    With ``judge_head: regression`` in its configuration, the judge has a regression head in place of the vocabulary
    head: a linear layer that maps the last hidden state at each answer position to one number.

    Attributes:
        plain: steps that are computed as in transformers, see `dramaeval.models.families.base.Family`.
        encoding_cache: stores the encodings of a frozen audio tower; with None, every pass encodes clips.
    """

    plain: frozenset[str] = frozenset()
    encoding_cache: AudioEncodingCache | None = None

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        if getattr(config, HEAD, None) == REGRESSION:
            self.score_head = nn.Linear(config.get_text_config().hidden_size, 1)

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """Run the audio tower; called once per batch, or once per clip if encodings are stored.

        Args:
            input_features: float32 ``[clips, mel bins, frames]``, padded to the longest clip.
            feature_frames: int64 ``[clips]``, numbers of valid mel frames of 10 ms.

        Returns:
            ``[steps, width]`` for each clip, without padding.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define encode_audio.")

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """Map encoded clips to embeddings of the language model; called after `encode_audio` or with stored encodings.

        Args:
            encoded: ``[steps, width]`` for each clip.

        Returns:
            ``[audio tokens, hidden]`` for each clip; `Family.audio_tokens` gives the number of tokens.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define project_audio.")

    def place_audio(
        self, encoded: list[torch.Tensor], windows: Sequence[int]
    ) -> list[torch.Tensor]:
        """Add the position of each window in its clip, for encoders without it; called before `project_audio`.

        Args:
            encoded: ``[steps, width]`` for each window.
            windows: the number of each window in its clip, from 0.
        """
        return encoded

    def embed_audio(
        self,
        input_features: torch.Tensor,
        feature_frames: torch.Tensor,
        windows: Sequence[int] = (),
    ) -> list[torch.Tensor]:
        """Run `encode_audio`, `place_audio` and `project_audio`; without ``windows`` every clip is one window."""
        encoded = self.encode_audio(input_features, feature_frames)
        return self.project_audio(self.place_audio(encoded, windows or [0] * len(encoded)))

    @property
    def audio_token(self) -> int:
        """The id of the placeholder that is replaced by embeddings of clips."""
        return int(self.config.audio_token_id)

    @property
    def decoder(self) -> Any:
        """The language model without its vocabulary head."""
        return self.model.language_model

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        *args: Any,
        answer_index: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run `answer_logits` if ``answer_index`` is given, else the forward pass of transformers."""
        if answer_index is None or input_ids is None:
            return super().forward(input_ids, *args, **kwargs)
        inputs = without_defaults(kwargs)
        return self.answer_logits(input_ids=input_ids, answer_index=answer_index, **inputs)

    def answer_logits(
        self,
        *,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        answer_index: torch.Tensor,
        prefix_mask: torch.Tensor | None = None,
        branch_count: int = 0,
        subtree_ends: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        virtual_embeddings: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> AnswerLogits:
        """Compute the logits at the answer positions.

        Args:
            input_ids: ``[rows, tokens]``, padded on the right.
            position_ids: ``[rows, tokens]``; every branch continues the positions of its prefix.
            answer_index: ``[answers, 2]``, row and position of each answer position.
            prefix_mask: bool ``[rows, prefix width]``, false for padding; None if every row is one sequence.
            branch_count: number of branches per row, with ``prefix_mask``.
            subtree_ends: ``[rows, branches, branch width]``, if branches have trees; see `SharedPrefixLayout`.
            attention_mask: for rows that are not padded on the right; None is causal attention.
            virtual_embeddings: ``[rows, virtual tokens, hidden]``, prepended to the rows.
            kwargs: `CLIP_INPUTS` for `embed`, and further inputs of the language model, such as the cache of prefix
                tuning, to which all tokens attend.

        Raises:
            FeatureMismatchError: the numbers of audio tokens and audio embeddings differ.
        """
        clips = {name: kwargs.pop(name) for name in CLIP_INPUTS if name in kwargs}
        embeddings = self.embed(input_ids, **clips)
        if virtual_embeddings is not None:
            count = virtual_embeddings.shape[1]
            embeddings = torch.cat([virtual_embeddings.to(embeddings.dtype), embeddings], dim=1)
            answer_index = answer_index + answer_index.new_tensor([0, count])
            position_ids = _prepend(torch.arange(count), position_ids + count)
            if prefix_mask is not None:
                prefix_mask = _prepend(torch.ones(count, dtype=torch.bool), prefix_mask)
            if attention_mask is not None:
                attention_mask = _prepend(torch.ones(count), attention_mask)
        positions: torch.Tensor | None = position_ids
        if prefix_mask is not None:
            width = (embeddings.shape[1] - prefix_mask.shape[1]) // branch_count
            layout = SharedPrefixLayout(prefix_mask, branch_count, width, subtree_ends)
            attention_mask = layout.as_mask()
        elif attention_mask is None:
            # Padding is after all answers and needs no mask. With position ids, transformers would look for packed
            # sequences; without them, it numbers the positions in the same way.
            positions = None
        if "past_key_values" in kwargs:
            kwargs[cache_argument(self.decoder)] = kwargs.pop("past_key_values")
        logits = self.logits_at(
            answer_index,
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=positions,
            use_cache=False,
            **kwargs,
        )
        loss = logits.new_zeros(()).float() if self.training else None
        return AnswerLogits(logits=logits, loss=loss)

    def embed(
        self, input_ids: torch.Tensor, clip_order: torch.Tensor | None = None, **clip_inputs: Any
    ) -> torch.Tensor:
        """Embeddings ``[rows, tokens, hidden]``, in which clips replace audio tokens.

        Args:
            input_ids: ``[rows, tokens]``.
            clip_order: ``[occurrences]``, the clip of each run of audio tokens, row by row, by its number in the result
                of `embed_clips`; None if the prompts have no clips.
            clip_inputs: the arguments of `embed_clips`.

        Raises:
            FeatureMismatchError: the numbers of audio tokens and audio embeddings differ.
        """
        embeddings = self.embed_text(input_ids)
        if clip_order is None:
            return embeddings
        clips = self.embed_clips(**clip_inputs)
        audio = torch.cat([clips[int(number)] for number in clip_order])
        reserved = input_ids == self.audio_token
        if int(reserved.sum()) != audio.shape[0]:
            raise FeatureMismatchError(
                f"The prompts of this batch reserve {int(reserved.sum())} audio tokens, but their clips have "
                f"{audio.shape[0]} features. Prompt and clip must be prepared by the same processor: check "
                "that model.path names the model whose processor rendered the prompts."
            )
        return embeddings.masked_scatter(
            reserved.unsqueeze(-1), audio.to(embeddings.device, embeddings.dtype)
        )

    def embed_text(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Embeddings ``[rows, tokens, hidden]`` of token ids; values at audio placeholders are not used."""
        return self.get_input_embeddings()(input_ids)

    def embed_clips(
        self,
        input_features: torch.Tensor | None = None,
        feature_frames: torch.Tensor | None = None,
        clip_keys: Sequence[str] = (),
        encoded_clips: Sequence[torch.Tensor] = (),
        clip_windows: Sequence[int] = (),
    ) -> list[torch.Tensor]:
        """``[audio tokens, hidden]`` for each clip: first clips with features, then encoded clips.

        Args:
            input_features: ``[clips, mel bins, frames]``, every clip of the batch once.
            feature_frames: ``[clips]``, number of valid frames of each clip.
            clip_keys: the key of the encoding of each clip of ``input_features``.
            encoded_clips: ``[steps, width]`` for each clip whose encoding is stored.
            clip_windows: the number of each clip as a window of a longer clip, in the order of the clips; empty if no
                clip has several windows.
        """
        clips: list[torch.Tensor] = []
        cache = self.encoding_cache
        count = 0 if input_features is None else len(input_features)
        windows = list(clip_windows) or [0] * (count + len(encoded_clips))
        if input_features is not None and feature_frames is not None:
            if cache is None:
                clips = self.embed_audio(input_features, feature_frames, windows[:count])
            else:
                encodings = cache.encode(self, input_features, feature_frames, clip_keys)
                clips = self.project_audio(self.place_audio(encodings, windows[:count]))
        if encoded_clips:
            if cache is not None:
                cache.check_frozen(self)
            clips += self.project_audio(self.place_audio(list(encoded_clips), windows[count:]))
        return clips

    def logits_at(self, answer_index: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Run the language model, and its head at the answer positions.

        Args:
            answer_index: ``[answers, 2]``, row and position of each answer position.
            inputs: the inputs of the language model.

        Returns:
            ``[answers, vocabulary]``, or ``[answers, 1]`` from a regression head.
        """
        head = getattr(self, SCORE_HEAD, None) or self.get_output_embeddings()
        hidden = self.decoder(**inputs).last_hidden_state
        if "head" in self.plain:
            return at_positions(head(hidden), answer_index)
        return head(at_positions(hidden, answer_index))


def at_positions(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The values ``[rows, tokens, size]`` at rows and positions ``[answers, 2]``: ``[answers, size]``."""
    row, position = index.to(values.device).unbind(-1)
    return values[row, position]


def on_device_of(weight: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Values on the device of a weight; an offloaded weight is on the meta device until its layer is called."""
    return values if weight.is_meta else values.to(weight.device)


def unpadded(features: torch.Tensor, frames: torch.Tensor) -> list[torch.Tensor]:
    """The features ``[mel bins, frames]`` of each clip, from ``[clips, mel bins, longest]`` and ``[clips]``."""
    return [clip[:, :count] for clip, count in zip(features, frames.tolist(), strict=True)]


def gradients_if_trained(tower: nn.Module) -> torch.set_grad_enabled:
    """A context in which an audio tower stores activations only if one of its weights is trained."""
    trained = any(weight.requires_grad for weight in tower.parameters())
    return torch.set_grad_enabled(torch.is_grad_enabled() and trained)


def unwrap_judge(model: Any) -> Any:
    """The `JudgeModel` inside PEFT's wrapper, with its adapters; a model without a wrapper is returned."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _prepend(first: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """Prepend ``[count]`` to every row of ``[rows, tokens]``."""
    return torch.cat([first.to(rest).expand(rest.shape[0], -1), rest], dim=1)

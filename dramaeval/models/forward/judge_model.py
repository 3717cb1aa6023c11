"""The forward pass of a judge: from a batch of questions to logits at the answer positions, and no others.

A transformers model builds logits for every token of every sequence; a judge needs a handful. The classes of
the supported families inherit from `JudgeModel`, which adds that pass and leaves everything else, loading,
saving and generation included, as transformers has it. Such a class keeps the name of the one it extends:
transformers files weight mappings and the saved architecture under that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.modeling_outputs import ModelOutput

from dramaeval.models.forward.last_layer import prepare, takes_places
from dramaeval.models.forward.places import Places
from dramaeval.models.forward.shared_prefix import SharedPrefixLayout, layout_of
from dramaeval.models.inputs.audio_encodings import AudioEncodingCache

if TYPE_CHECKING:
    from transformers import PreTrainedModel
else:
    PreTrainedModel = object


@dataclass
class AnswerLogits(ModelOutput):
    """What the pass returns: ``logits [answers, vocabulary]``, in the order of ``answer_index``.

    ``loss`` is there in training for adapters that add to it: it starts at 0 (see `AdaLoraModel.forward`).
    """

    logits: torch.Tensor | None = None
    loss: torch.Tensor | None = None


class FeatureMismatchError(ValueError):
    """The prompt reserves another number of audio tokens than the clip has features."""


#: Says in a model's configuration that it has a regression head.
HEAD = "judge_head"
REGRESSION = "regression"
#: The module of that head.
SCORE_HEAD = "score_head"


class JudgeModel(PreTrainedModel):
    """Mixed into a transformers class in front of it; the three hooks say where its parts are.

    A model whose configuration says so has a regression head: a linear layer that reads one number off the
    last hidden state at each answer position, in place of the vocabulary head.
    """

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        if getattr(config, HEAD, None) == REGRESSION:
            self.score_head = nn.Linear(config.get_text_config().hidden_size, 1)
        prepare(self.decoder)

    #: What is done as transformers does it, see `Family`: ``head`` and ``last_layer`` here, ``encoder`` in
    #: models that hear.
    plain: frozenset[str] = frozenset()
    #: Keeps what a frozen audio tower makes of clips; None works it out each time.
    encoding_cache: AudioEncodingCache | None = None

    def embed_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """Each clip as language-model embeddings, a list of ``[audio tokens, hidden]``."""
        return self.project_audio(self.encode_audio(input_features, feature_frames))

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """What the audio tower makes of each clip, a list of ``[steps, width]`` without padding."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it encodes audio.")

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """Encoded clips as language-model embeddings, a list of ``[audio tokens, hidden]``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it projects audio.")

    @property
    def audio_token(self) -> int:
        """The id of the placeholder that audio embeddings replace."""
        raise NotImplementedError(f"{type(self).__name__} does not name its audio token.")

    @classmethod
    def is_custom_code(cls) -> bool:
        """No: the modelling is transformers' own, and so are the names in its weight files."""
        return False

    @property
    def decoder(self) -> nn.Module:
        """The language model without its vocabulary head."""
        raise NotImplementedError(f"{type(self).__name__} does not name its language model.")

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        *args: Any,
        answer_index: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answer a batch where ``answer_index`` is given; else do what transformers does.

        See `answer` for the arguments of the first case.
        """
        if answer_index is None or input_ids is None:
            return super().forward(input_ids, *args, **kwargs)
        # PEFT's wrappers pass every argument that a language model might take, as None.
        given = {name: value for name, value in kwargs.items() if value is not None}
        given.pop("return_dict", None)
        return self.answer(input_ids=input_ids, answer_index=answer_index, **given)

    def answer(
        self,
        *,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        answer_index: torch.Tensor,
        input_features: torch.Tensor | None = None,
        feature_frames: torch.Tensor | None = None,
        clip_order: torch.Tensor | None = None,
        clip_keys: Sequence[str] = (),
        encoded_clips: Sequence[torch.Tensor] = (),
        prefix_mask: torch.Tensor | None = None,
        branch_count: int = 0,
        attention_mask: torch.Tensor | None = None,
        virtual_embeddings: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> AnswerLogits:
        """Logits at the answer positions.

        Args:
            input_ids: ``[rows, tokens]``, padded on the right.
            position_ids: ``[rows, tokens]``, continued from the prefix in every branch.
            answer_index: ``[answers, 2]``, the row and the position whose next token is asked for.
            input_features: ``[clips, mel bins, frames]``, every clip of the batch once.
            feature_frames: ``[clips]``, valid frames of each.
            clip_order: ``[occurrences]``, the clip that each run of audio tokens stands for, row by row; clips
                that are encoded already are numbered after the others.
            clip_keys: for each clip of ``input_features`` the key under which its encoding is kept.
            encoded_clips: ``[steps, width]`` each, clips that the tower need not hear again.
            prefix_mask: bool ``[rows, prefix width]`` in the branched layout, None where every row is one
                plain sequence.
            branch_count: branches a row in the branched layout.
            attention_mask: for plain rows that are not padded on the right; None means causal.
            virtual_embeddings: ``[rows, virtual tokens, hidden]``, put in front of every row.
            kwargs: for the language model, such as the ``cache`` of prefix tuning, which every token of every
                branch sees.

        Raises:
            FeatureMismatchError: audio tokens and audio features differ in number.
        """
        embeddings = self.embed(
            input_ids, input_features, feature_frames, clip_order, clip_keys, encoded_clips
        )
        if virtual_embeddings is not None:
            count = virtual_embeddings.shape[1]
            embeddings = torch.cat([virtual_embeddings.to(embeddings.dtype), embeddings], dim=1)
            answer_index = answer_index + answer_index.new_tensor([0, count])
            position_ids = _in_front(torch.arange(count), position_ids + count)
            if prefix_mask is not None:
                prefix_mask = _in_front(torch.ones(count, dtype=torch.bool), prefix_mask)
            if attention_mask is not None:
                attention_mask = _in_front(torch.ones(count), attention_mask)
        mask: Any = attention_mask
        positions: torch.Tensor | None = position_ids
        if prefix_mask is not None:
            width = (embeddings.shape[1] - prefix_mask.shape[1]) // branch_count
            layout = SharedPrefixLayout(prefix=prefix_mask, count=branch_count, width=width)
            mask = self.layout_mask(layout)
        elif attention_mask is None:
            # Causal attention never looks at padding on the right. Position ids would make transformers
            # look for packed sequences in them; without any it counts from zero, which is what they say.
            positions = None
        if "past_key_values" in kwargs:
            # PEFT (0.21) gives prefix tuning's cache under the name it had before transformers 5.24.
            kwargs["cache"] = kwargs.pop("past_key_values")
        logits = self.read(
            answer_index,
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
            **kwargs,
        )
        return AnswerLogits(
            logits=logits, loss=logits.new_zeros(()).float() if self.training else None
        )

    def embed(
        self,
        input_ids: torch.Tensor,
        input_features: torch.Tensor | None = None,
        feature_frames: torch.Tensor | None = None,
        clip_order: torch.Tensor | None = None,
        clip_keys: Sequence[str] = (),
        encoded_clips: Sequence[torch.Tensor] = (),
    ) -> torch.Tensor:
        """Embeddings ``[rows, tokens, hidden]`` with the clips in their places; see `answer`."""
        embeddings = self.get_input_embeddings()(input_ids)
        if clip_order is None:
            return embeddings
        clips = self.embed_clips(input_features, feature_frames, clip_keys, encoded_clips)
        return self._place(embeddings, input_ids, [clips[int(i)] for i in clip_order])

    def embed_clips(
        self,
        input_features: torch.Tensor | None = None,
        feature_frames: torch.Tensor | None = None,
        clip_keys: Sequence[str] = (),
        encoded_clips: Sequence[torch.Tensor] = (),
    ) -> list[torch.Tensor]:
        """Clips as embeddings, ``[audio tokens, hidden]`` each: those to hear, then the encoded ones."""
        clips: list[torch.Tensor] = []
        if input_features is not None and feature_frames is not None:
            if self.encoding_cache is None:
                clips = self.embed_audio(input_features, feature_frames)
            else:
                heard = self.encoding_cache.encode(self, input_features, feature_frames, clip_keys)
                clips = self.project_audio(heard)
        if encoded_clips:
            if self.encoding_cache is not None:
                self.encoding_cache.require_frozen(self)
            clips += self.project_audio(list(encoded_clips))
        return clips

    def layout_mask(self, layout: SharedPrefixLayout) -> Any:
        """The layout in the form in which the language model hands it on to its attention.

        Qwen2 takes masks by kind of layer; see `dramaeval.models.forward.shared_prefix.as_mask` for others.
        """
        return {"full_attention": layout}

    def read(self, answer_index: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Run the language model and its head; logits ``[answers, vocabulary]`` at the answer positions.

        With a regression head they are its numbers, ``[answers, 1]``.
        """
        head = getattr(self, SCORE_HEAD, None) or self.get_output_embeddings()
        if self.reads_last:
            places = self.places(answer_index, **inputs)
            return head(self.decoder(**inputs, read_at=places).last_hidden_state[0])
        hidden = self.decoder(**inputs).last_hidden_state
        row, position = answer_index.to(hidden.device).unbind(-1)
        if "head" in self.plain:
            return head(hidden)[row, position]
        return head(hidden[row, position])

    @property
    def reads_last(self) -> bool:
        """Whether the last layer is computed at the answers alone; a head at every position needs all of it."""
        return not self.plain & {"head", "last_layer"} and takes_places(self.decoder)

    @staticmethod
    def places(
        answer_index: torch.Tensor,
        *,
        inputs_embeds: torch.Tensor,
        attention_mask: Any = None,
        **_: Any,
    ) -> Places:
        """The answers of a pass as its last layer takes them; see `read` for the arguments."""
        mask = (
            attention_mask["full_attention"] if isinstance(attention_mask, dict) else attention_mask
        )
        rows, tokens = inputs_embeds.shape[:2]
        return Places.of(answer_index.to(inputs_embeds.device), rows, layout_of(mask, tokens))

    def _place(
        self, embeddings: torch.Tensor, input_ids: torch.Tensor, clips: list[torch.Tensor]
    ) -> torch.Tensor:
        reserved = input_ids == self.audio_token
        audio = torch.cat(clips).to(embeddings.device, embeddings.dtype)
        if int(reserved.sum()) != audio.shape[0]:
            raise FeatureMismatchError(
                f"The prompts of this batch reserve {int(reserved.sum())} audio tokens, but their clips have "
                f"{audio.shape[0]} features. Prompt and clip must be prepared by the same processor: check "
                "that model.path names the model whose processor rendered the prompts."
            )
        return embeddings.masked_scatter(reserved.unsqueeze(-1), audio)


def _in_front(first: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """Put ``[count]`` in front of every row of ``[rows, tokens]``."""
    return torch.cat([first.to(rest).expand(rest.shape[0], -1), rest], dim=1)

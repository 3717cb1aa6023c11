"""Any text-only causal language model as a judge: from transcript and context, without the clip.

This is the cascaded judge, and the control that shows what the sound itself adds. The model's class is not
known before its configuration is read, so the judge's class is made then: `JudgeModel` in front of whatever
class transformers has for the configuration.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from jinja2.exceptions import TemplateError
from torch import nn

from dramaeval.models.devices import input_device
from dramaeval.models.families.base import Family, ModelError
from dramaeval.models.forward.judge_model import SCORE_HEAD, JudgeModel
from dramaeval.models.forward.shared_prefix import SharedPrefixLayout, as_mask
from dramaeval.models.inputs.audio_encodings import unwrap_judge
from dramaeval.models.inputs.collation import EncodedRecord, LabelledQuestion, collate
from dramaeval.models.inputs.question_encoder import AnswerTokens, EncodedQuestion

log = logging.getLogger(__name__)

#: Stands for an answer while a chat template is asked how it ends one.
_ANSWER = "ANSWER"


class TextJudgeModel(JudgeModel):
    """Mixed into a causal language model: no audio, and its own head, whatever that does to the logits."""

    @property
    def audio_token(self) -> int:
        """None of the vocabulary."""
        return -1

    @property
    def decoder(self) -> nn.Module:
        """See `JudgeModel.decoder`."""
        return getattr(self, self.base_model_prefix)

    def layout_mask(self, layout: SharedPrefixLayout) -> Any:
        """See `JudgeModel.layout_mask`."""
        return as_mask(layout)

    def read(self, answer_index: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """The model's own forward pass, its hidden states cut down to the answers on the way to the head.

        So whatever a class does between the two (scaling, soft caps, a bias) is done here too.
        """
        if hasattr(self, SCORE_HEAD):
            return super().read(answer_index, **inputs)
        if self.reads_last:
            return super().forward(**inputs, read_at=self.places(answer_index, **inputs)).logits[0]
        if "head" in self.plain:
            return _at(super().forward(**inputs).logits, answer_index)
        kept = []

        def keep(module: nn.Module, args: Any, output: Any) -> Any:
            output.last_hidden_state = _at(output.last_hidden_state, answer_index)[None]
            kept.append(True)
            return output

        hook = self.decoder.register_forward_hook(keep)
        try:
            logits = super().forward(**inputs).logits
        finally:
            hook.remove()
        # A few classes (OPT) go past the module that the hook waits at, and compute every position.
        return logits[0] if kept else _at(logits, answer_index)


def _at(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    row, position = index.to(values.device).unbind(-1)
    return values[row, position]


@cache
def reading_class(plain: type) -> type:
    """The judge's class for a transformers class, under its name and module."""
    return type(plain.__name__, (TextJudgeModel, plain), {"__module__": plain.__module__})


class CausalLM(Family):
    """Any text-only causal language model; see `Family` for the arguments.

    ``architecture`` needs a ``model_type`` here, for example qwen2.
    """

    takes_audio = False
    quick = ("head", "last_layer")

    @cached_property
    def settings(self) -> Any:
        """The model's configuration.

        Raises:
            ModelError: it cannot be read, or is none of a text-only causal language model.
        """
        from transformers import AutoConfig, AutoModelForCausalLM

        if self.architecture:
            found = self.configuration(self.architecture)
        else:
            found = self._reading(
                self.path,
                lambda: AutoConfig.from_pretrained(self.path, **self._hub_arguments(None)),
            )
        if type(found) not in AutoModelForCausalLM._model_mapping:
            raise ModelError(
                f"model.path={self.path} is a {found.model_type}, which transformers has no causal language "
                "model for. Give a text model (Llama, Qwen, Mistral …) or choose another model=."
            )
        if found.get_text_config() is not found:
            raise ModelError(
                f"model.path={self.path} is a {found.model_type}, which takes more than text. model=causal_lm "
                "is for models that take text alone: give one, or choose another model=."
            )
        return found

    def model_class(self) -> Any:
        """See `Family.model_class`."""
        return reading_class(self._plain_class())

    def _plain_class(self) -> Any:
        from transformers import AutoModelForCausalLM

        found = AutoModelForCausalLM._model_mapping[type(self.settings)]
        # A few configurations stand for several classes; the first is the usual one.
        return found[0] if isinstance(found, tuple | list) else found

    @cached_property
    def parts(self) -> Mapping[str, str]:  # type: ignore[override]  # others write it down
        """See `Family.parts`; a language model is all there is."""
        return {"llm": self._plain_class().base_model_prefix}

    @cached_property
    def projections(self) -> Mapping[str, Sequence[str]]:  # type: ignore[override]  # as `parts`
        """See `Family.projections`; every linear layer of the model but its vocabulary head."""
        from transformers.pytorch_utils import Conv1D

        decoder = self.decoder_of(self.skeleton())
        names = {
            name.rpartition(".")[2]: None
            for name, module in decoder.named_modules()
            if isinstance(module, nn.Linear | Conv1D)
        }
        return {"llm": tuple(names)}

    def configuration(self, values: Mapping[str, Any]) -> Any:
        """See `Family.configuration`."""
        from transformers import AutoConfig

        given = dict(values)
        if "model_type" not in given:
            raise ModelError("model.architecture has no model_type: give one, for example qwen2.")
        return AutoConfig.for_model(given.pop("model_type"), **given)

    def audio_tokens(self, frames: int) -> int:
        """None: the clip takes no place in the prompt."""
        return 0

    def decoder_of(self, model: Any) -> Any:
        """See `Family.decoder_of`."""
        return getattr(model, model.base_model_prefix)

    # The prompt

    def processor(self, checkpoint: Path | None = None) -> Any:
        """The tokenizer."""
        from transformers import AutoTokenizer

        source = str(checkpoint) if checkpoint else self.path
        tokenizer = self._reading(
            source,
            lambda: AutoTokenizer.from_pretrained(source, **self._hub_arguments(checkpoint)),
        )
        if not tokenizer.chat_template:
            log.warning(
                "The tokenizer of %s has no chat template: questions are put as plain text.", source
            )
        return tokenizer

    def render(self, processor: Any, messages: list[dict[str, Any]]) -> str:
        """The texts of the messages in the tokenizer's chat template.

        Where a template knows no system message, its text goes to the head of the first message; where there is
        no template at all, the texts follow each other, an empty line apart.
        """
        read = [{"role": one["role"], "content": _text(one["content"])} for one in messages]
        if not processor.chat_template:
            return (processor.bos_token or "") + "\n\n".join(one["content"] for one in read) + "\n"
        try:
            return _chat(processor, read, add_generation_prompt=True)
        except TemplateError:
            if read[0]["role"] != "system" or len(read) < 2:
                raise
            first = {**read[1], "content": f"{read[0]['content']}\n\n{read[1]['content']}"}
            return _chat(processor, [first, *read[2:]], add_generation_prompt=True)

    def end_of_turn(self, processor: Any) -> str:
        """What the chat template puts after an answer, up to its first special token.

        Raises:
            ModelError: neither template nor tokenizer know how an answer ends.
        """
        if processor.chat_template:
            turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _ANSWER}]
            after = _chat(processor, turns, add_generation_prompt=False).rpartition(_ANSWER)[2]
            special = {*processor.all_special_tokens, *processor.get_added_vocab()}
            ends = [after.index(one) + len(one) for one in special if one in after]
            if ends:
                return after[: min(ends)]
        if not processor.eos_token:
            raise ModelError(
                f"The tokenizer of {self.path} has no end-of-text token, so that a judge could not learn where "
                "an answer ends: set eos_token in its tokenizer_config.json."
            )
        return processor.eos_token

    # Sharing a prefix

    def shared_prefix_problem(self) -> str | None:
        """See `Family.shared_prefix_problem`: sliding windows, and attention that does not take the layout."""
        kind = self.settings.model_type
        other = sorted(set(getattr(self.settings, "layer_types", None) or ()) - {"full_attention"})
        if other:
            return (
                f"{kind} has layers of {', '.join(other)}, whose questions cannot share a prefix."
            )
        window = getattr(self.settings, "sliding_window", None)
        if window and getattr(self.settings, "use_sliding_window", True):
            return f"{kind} attends within a window of {window} tokens: its questions cannot share a prefix."
        if not self._plain_class()._supports_attention_backend:
            return f"{kind} has its own attention in transformers: its questions cannot share a prefix."
        return None

    def check_shared_prefix(self, model: Any) -> None:
        """Answer two questions in both layouts; other architectures than the tested ones may hide surprises.

        Raises:
            ModelError: the answers differ.
        """
        if any(hasattr(weight, "ds_id") for weight in model.parameters()):
            log.warning("Under ZeRO-3 it is not proved that %s can share prefixes.", self.path)
            return
        encoded_record = _probe(self.settings.vocab_size)
        answers = []
        judge = unwrap_judge(model)
        with torch.inference_mode():
            # The second pass is transformers' own, but for the logits that it leaves out.
            for shared, plain in ((True, self.plain), (False, self.plain | {"last_layer"})):
                judge.plain = plain
                batch = collate([encoded_record], pad=0, shared_prefix=shared).to(
                    input_device(model)
                )
                answers.append(model(**batch.inputs).logits.float())
        judge.plain = self.plain
        difference = float((answers[0] - answers[1]).abs().max() / answers[1].std())
        allowed = 1e-3 if model.dtype == torch.float32 else 0.05
        if not difference <= allowed:
            raise ModelError(
                f"With a shared prefix {self.settings.model_type} gives other answers than without (they "
                f"differ by {difference:.2g} standard deviations). Set batch.shared_prefix=false: one row a "
                "question."
            )


def _text(content: Any) -> str:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return "\n".join(one["text"] for one in parts if one["type"] == "text")


def _chat(tokenizer: Any, messages: list[dict[str, Any]], *, add_generation_prompt: bool) -> str:
    # Models that can think before they speak are asked to answer at once; other templates ignore the word.
    return tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=add_generation_prompt, enable_thinking=False
    )


def _probe(vocabulary: int) -> EncodedRecord:
    """Two questions of unlike length over tokens drawn at random, after a common beginning."""
    drawn = torch.randint(vocabulary, (40,), generator=torch.Generator().manual_seed(0)).tolist()
    answer = AnswerTokens(scale=(0, 1), lead=(drawn[0],), scores=(drawn[1], drawn[2]), tail=())
    ends = (drawn[12:20], drawn[20:35])
    return EncodedRecord(
        clips=(),
        questions=tuple(
            LabelledQuestion(EncodedQuestion(prompt=(*drawn[3:12], *end), answer=answer))
            for end in ends
        ),
    )

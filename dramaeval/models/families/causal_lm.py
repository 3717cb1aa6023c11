"""Any causal language model of text alone: a judge of transcript and context, without the clip.

It is the cascaded judge, and the control that shows what the audio adds. The transformers class is known only after the
configuration is read; the judge's class is derived from it then.
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
from transformers import AutoConfig, AutoTokenizer

from dramaeval.compat.transformers import model_class_for
from dramaeval.models.adapters import linear_layers
from dramaeval.models.chat_templates import content_parts, end_of_turn
from dramaeval.models.errors import ModelError
from dramaeval.models.families.base import Family
from dramaeval.models.forward.judge_model import SCORE_HEAD, JudgeModel, at_positions

log = logging.getLogger(__name__)


class TextJudgeModel(JudgeModel):
    """Mixed into a causal language model; keeps its head and all steps between decoder and head."""

    @property
    def audio_token(self) -> int:
        """No token of the vocabulary."""
        return -1

    @property
    def decoder(self) -> Any:
        """The language model without its vocabulary head."""
        return getattr(self, self.base_model_prefix)

    def logits_at(self, answer_index: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Run the forward pass of transformers, with the hidden states cut to the answer positions before the head.

        This includes scaling, soft caps and biases between decoder and head.
        """
        if hasattr(self, SCORE_HEAD):
            return super().logits_at(answer_index, **inputs)
        if "head" in self.plain:
            return at_positions(super().forward(**inputs).logits, answer_index)
        reduced = []

        def reduce(module: nn.Module, args: Any, output: Any) -> Any:
            states = at_positions(output.last_hidden_state, answer_index)
            output.last_hidden_state = states[None]
            reduced.append(True)
            return output

        hook = self.decoder.register_forward_hook(reduce)
        try:
            logits = super().forward(**inputs).logits
        finally:
            hook.remove()
        # A few classes (OPT) do not call the module that has the hook, and compute every position.
        return logits[0] if reduced else at_positions(logits, answer_index)


@cache
def text_judge_class(plain: type) -> type:
    """The judge's class for a transformers class, under its name and module."""
    return type(plain.__name__, (TextJudgeModel, plain), {"__module__": plain.__module__})


class CausalLM(Family):
    """Any text-only causal language model; see `Family` for the arguments.

    ``architecture`` needs a ``model_type``, for example qwen2.
    """

    takes_audio = False
    plain_options = ("head",)

    @cached_property
    def _plain_class(self) -> Any:
        """The transformers class.

        Raises:
            ModelError: the configuration cannot be read, or its model takes more than text.
        """
        if self.architecture:
            configuration = self.configuration(self.architecture)
        else:
            configuration = self.files().read(AutoConfig.from_pretrained)
        plain_class = model_class_for(configuration, causal_lm=True)
        kind = configuration.model_type
        if plain_class is None:
            raise ModelError(
                f"model.path={self.path} is a {kind}, which transformers has no causal language model for. Give a "
                "text model (Llama, Qwen, Mistral …) or choose another model=."
            )
        if configuration.get_text_config() is not configuration:
            raise ModelError(
                f"model.path={self.path} is a {kind}, which takes more than text. model=causal_lm is for models that "
                "take text alone: give one, or choose another model=."
            )
        if getattr(configuration, "hidden_size_per_layer_input", None):
            raise ModelError(
                f"model.path={self.path} is a {kind}, which embeds every token again for each of its layers. "
                "model=causal_lm does not compute these embeddings: choose another model=."
            )
        return plain_class

    def model_class(self) -> Any:
        """The judge's class for the transformers class of the configuration."""
        return text_judge_class(self._plain_class)

    @cached_property
    def parts(self) -> Mapping[str, str]:  # type: ignore[override]  # read from the model
        """The language model is the only part."""
        return {"llm": self._plain_class.base_model_prefix}

    @cached_property
    def projections(self) -> Mapping[str, Sequence[str]]:  # type: ignore[override]  # as `parts`
        """Every linear layer of the model but its vocabulary head."""
        return {"llm": linear_layers(self.skeleton().decoder)}

    def configuration(self, values: Mapping[str, Any]) -> Any:
        """A configuration of the named ``model_type``."""
        values = dict(values)
        if "model_type" not in values:
            raise ModelError("model.architecture has no model_type: give one, for example qwen2.")
        return AutoConfig.for_model(values.pop("model_type"), **values)

    def audio_tokens(self, frames: int) -> int:
        """0: the prompt does not contain the clip."""
        return 0

    def processor(self, checkpoint: Path | None = None) -> Any:
        """The tokenizer."""
        files = self.files(checkpoint)
        tokenizer = files.read(AutoTokenizer.from_pretrained)
        if not tokenizer.chat_template:
            log.warning(
                "The tokenizer of %s has no chat template: questions are plain text.", files.source
            )
        return tokenizer

    def render(self, processor: Any, messages: list[dict[str, Any]]) -> str:
        """The texts of the messages in the tokenizer's chat template.

        Where a template has no system message, its text precedes the first message; where there is no template, the
        texts follow each other, separated by an empty line.
        """
        texts = []
        for message in messages:
            parts = content_parts(message["content"])
            text = "\n".join(part["text"] for part in parts if "text" in part)
            texts.append({"role": message["role"], "content": text})
        if not processor.chat_template:
            text = "\n\n".join(message["content"] for message in texts)
            return f"{processor.bos_token or ''}{text}\n"
        try:
            return _chat(processor, texts)
        except TemplateError:
            if texts[0]["role"] != "system" or len(texts) < 2:
                raise
            system, user, *rest = texts
            user = {**user, "content": f"{system['content']}\n\n{user['content']}"}
            return _chat(processor, [user, *rest])

    def end_of_turn(self, processor: Any) -> str:
        """The text that the chat template renders after an answer, up to its first special token.

        Raises:
            ModelError: neither the template nor the tokenizer defines the end of an answer.
        """
        end = end_of_turn(processor, enable_thinking=False) if processor.chat_template else None
        if end is not None:
            return end
        if not processor.eos_token:
            raise ModelError(
                f"The tokenizer of {self.path} has no end-of-text token, so that a judge could not learn where "
                "an answer ends: set eos_token in its tokenizer_config.json."
            )
        return processor.eos_token


def _chat(tokenizer: Any, messages: Sequence[dict[str, Any]]) -> str:
    # Templates of reasoning models have the switch enable_thinking; others ignore it.
    return tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True, enable_thinking=False
    )

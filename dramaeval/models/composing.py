"""Joins a Whisper encoder and a causal language model into a Qwen2-Audio checkpoint with a new projector.

The checkpoint has the unchanged weights of both parts, a projector between them, and an embedding for each new
token. ``Qwen2AudioForConditionalGeneration.from_pretrained`` and ``AutoProcessor.from_pretrained`` read it.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jinja2.exceptions import TemplateError
from torch import nn
from transformers import (
    AddedToken,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Qwen2AudioConfig,
    Qwen2AudioEncoderConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
    WhisperModel,
)

from dramaeval.compat.transformers import model_class_for
from dramaeval.config.home_folder import expand_home
from dramaeval.data.atomic_files import write_json_atomic
from dramaeval.models.chat_templates import AUDIO_TOKENS, end_of_turn, with_clips
from dramaeval.models.errors import ModelError
from dramaeval.models.loading import ModelFiles

#: The file in the checkpoint that names the parts.
RECIPE = "composed.json"
#: The version of this module's method; another version gives another checkpoint.
_VERSION = 1
_QWEN2_AUDIO = "qwen2_audio"
#: Number of positions of Whisper's encoder, for 30 s.
_POSITIONS = 1500
#: Settings of Whisper's encoder that have the same names in Qwen2-Audio.
_ENCODER = (
    "num_mel_bins", "d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim",
    "max_source_positions", "activation_function", "scale_embedding",
)  # fmt: skip
#: Settings for operations after the decoder that Qwen2-Audio does not have, with the value that disables each.
_AFTER_DECODER = {
    "final_logit_softcapping": None,
    "logits_scaling": 1.0,
    "logit_scale": 1.0,
    "lm_head_multiplier": 1.0,
}
#: Maximum difference between the logits of a language model and of its decoder with a plain head, in standard deviations.
_ALLOWED = 1e-3


@dataclass(frozen=True)
class JudgeParts:
    """The parts of a composed judge; the properties read files of settings at their first use, and no weights.

    Attributes:
        audio: a Whisper checkpoint, or a Qwen2-Audio checkpoint whose encoder is used.
        text: a causal language model, or a Qwen2-Audio checkpoint whose language model is used.
        seed: seed of the projector.
    """

    audio: ModelFiles
    text: ModelFiles
    seed: int = 0

    @property
    def recipe(self) -> dict[str, Any]:
        """The values that determine the checkpoint; the files of a folder by name, size and time."""
        return {
            "version": _VERSION,
            "seed": self.seed,
            **{
                name: {"source": files.source, "revision": files.revision, "files": _listing(files)}
                for name, files in (("audio", self.audio), ("text", self.text))
            },
        }

    @property
    def identity(self) -> str:
        """A hash of the recipe: twelve hexadecimal digits."""
        text = json.dumps(self.recipe, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @cached_property
    def encoder_config(self) -> Any:
        """The configuration of the encoder, a `Qwen2AudioEncoderConfig`.

        Raises:
            ModelError: the checkpoint has no Whisper encoder for 30 s.
        """
        config = self.audio.read(AutoConfig.from_pretrained)
        if config.model_type == _QWEN2_AUDIO:
            return config.audio_config
        if config.model_type != "whisper":
            raise ModelError(
                f"model.audio={self.audio.source} is a {config.model_type}. Give a Whisper checkpoint "
                "(openai/whisper-base, distil-whisper/distil-large-v3, …), or a Qwen2-Audio checkpoint whose encoder "
                "is to be used."
            )
        if config.max_source_positions != _POSITIONS:
            raise ModelError(
                f"model.audio={self.audio.source} has an encoder of {config.max_source_positions} positions; "
                f"Qwen2-Audio's has {_POSITIONS} (30 s)."
            )
        return Qwen2AudioEncoderConfig(**{name: getattr(config, name) for name in _ENCODER})

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the language model with `AUDIO_TOKENS` added."""
        tokenizer = self.text.read(AutoTokenizer.from_pretrained)
        new = [AddedToken(token, special=True, normalized=False) for token in AUDIO_TOKENS]
        tokenizer.add_tokens(new, special_tokens=True)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @cached_property
    def new_tokens(self) -> list[int]:
        """The ids of those `AUDIO_TOKENS` that the tokenizer of the language model does not have."""
        before = self.text.read(AutoTokenizer.from_pretrained).get_vocab()
        ids = self.tokenizer.convert_tokens_to_ids(list(AUDIO_TOKENS))
        return [token for token, name in zip(ids, AUDIO_TOKENS, strict=True) if name not in before]

    @cached_property
    def text_config(self) -> Any:
        """The configuration of the language model with room for the new tokens.

        Raises:
            ModelError: the model takes more than text, or the Qwen2-Audio class of transformers cannot contain it.
        """
        config = self.text.read(AutoConfig.from_pretrained)
        if config.model_type == _QWEN2_AUDIO:
            config = config.text_config
        elif config.get_text_config() is not config:
            raise ModelError(
                f"model.text={self.text.source} is a {config.model_type}, which takes more than text: give a text "
                "model (Llama, Qwen, SmolLM, Gemma, …)."
            )
        if reason := _unfit(config):
            raise ModelError(
                f"model.text={self.text.source} is a {config.model_type}, which transformers' Qwen2-Audio class "
                f"cannot hold: {reason}. Choose another language model."
            )
        config = copy.deepcopy(config)
        used = max(self.tokenizer.get_vocab().values()) + 1
        config.vocab_size = max(config.vocab_size, used)
        config.tie_word_embeddings = False
        return config

    def configuration(self) -> Any:
        """The configuration of the judge, a new `Qwen2AudioConfig`."""
        return Qwen2AudioConfig(
            audio_config=self.encoder_config.to_dict(),
            text_config=self.text_config.to_dict(),
            audio_token_index=self.tokenizer.convert_tokens_to_ids(AUDIO_TOKENS[0]),
        )

    def processor(self) -> Any:
        """Make the processor: the encoder's features, the tokenizer, and its chat template extended with clips.

        Raises:
            ModelError: the chat template cannot be extended.
        """
        try:
            template = with_clips(self.tokenizer)
        except TemplateError as error:
            raise ModelError(
                f"model.text={self.text.source}: its chat template cannot be used for questions about clips: {error}. "
                "Give a model with another template, or change chat_template in a copy of its files."
            ) from None
        extractor = WhisperFeatureExtractor(feature_size=self.encoder_config.num_mel_bins)
        self.tokenizer.chat_template = template
        return Qwen2AudioProcessor(extractor, self.tokenizer, chat_template=template)

    def join(self) -> Any:
        """Make the judge, in evaluation mode, with the smallest dtype that represents the weights of both parts exactly.

        Raises:
            ModelError: a part cannot be read, or the logits of the language model would change.
        """
        tower, (decoder, head) = self._encoder_weights(), self._language_model()
        dtype = torch.promote_types(tower["conv1.weight"].dtype, head.dtype)
        with torch.device("meta"):
            judge = Qwen2AudioForConditionalGeneration(self.configuration())
        judge.model.audio_tower.load_state_dict(tower, assign=True)
        judge.model.language_model = decoder
        judge.lm_head.weight = nn.Parameter(head)
        judge.model.multi_modal_projector.to_empty(device="cpu")
        self._initialise_projector(judge)
        judge.generation_config = self._generation_config(judge.generation_config)
        return judge.to(dtype).eval()

    def write(self, folder: Path) -> None:
        """Write the checkpoint, its processor and its recipe into an empty folder."""
        self.join().save_pretrained(folder)
        self.processor().save_pretrained(folder)
        write_json_atomic(folder / RECIPE, self.recipe)

    def _encoder_weights(self) -> dict[str, torch.Tensor]:
        if self.audio.read(AutoConfig.from_pretrained).model_type == _QWEN2_AUDIO:
            judge = self.audio.read(
                Qwen2AudioForConditionalGeneration.from_pretrained, dtype="auto"
            )
            return judge.model.audio_tower.state_dict()
        return self.audio.read(WhisperModel.from_pretrained, dtype="auto").encoder.state_dict()

    def _language_model(self) -> tuple[Any, torch.Tensor]:
        """The decoder and the weight of the head, both with rows for the new tokens."""
        if self.text.read(AutoConfig.from_pretrained).model_type == _QWEN2_AUDIO:
            model = self.text.read(Qwen2AudioForConditionalGeneration.from_pretrained, dtype="auto")
            decoder = model.model.language_model
        else:
            model = self.text.read(AutoModelForCausalLM.from_pretrained, dtype="auto")
            decoder = getattr(model, model.base_model_prefix)
            self._check_logits(model, decoder)
        if self.text_config.vocab_size > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(self.text_config.vocab_size, mean_resizing=False)
        old = [
            token for token in self.tokenizer.get_vocab().values() if token not in self.new_tokens
        ]
        head = model.get_output_embeddings().weight.detach().clone()
        with torch.no_grad():
            for weight in (head, model.get_input_embeddings().weight):
                weight[self.new_tokens] = weight[old].float().mean(dim=0).to(weight.dtype)
        decoder.config = self.text_config
        return decoder, head

    def _check_logits(self, model: Any, decoder: Any) -> None:
        """Compare the logits of the language model with the logits of its decoder followed by its head."""
        generator = torch.Generator().manual_seed(0)
        vocabulary = model.get_input_embeddings().weight.shape[0]
        ids = torch.randint(vocabulary, (1, 12), generator=generator)
        with torch.inference_mode():
            expected = model(input_ids=ids, use_cache=False).logits.float()
            hidden = decoder(
                inputs_embeds=model.get_input_embeddings()(ids), use_cache=False
            ).last_hidden_state
            logits = (hidden @ model.get_output_embeddings().weight.T).float()
        difference = float((logits - expected).abs().max() / expected.std())
        if not difference <= _ALLOWED:
            raise ModelError(
                f"model.text={self.text.source} is a {model.config.model_type}, which transformers' Qwen2-Audio class "
                f"cannot hold: its logits would differ by {difference:.2g} standard deviations. Choose another "
                "language model."
            )

    def _initialise_projector(self, judge: Any) -> None:
        """Draw weights with which the embeddings of clips have the root mean square of the token embeddings.

        The input of the projector is the output of a layer norm, whose mean square follows from its weights and biases.
        """
        norm, linear = judge.model.audio_tower.layer_norm, judge.model.multi_modal_projector.linear
        embeddings = judge.get_input_embeddings()
        with torch.no_grad():
            tokens = embeddings(torch.arange(min(embeddings.num_embeddings, 8192))).float()
            square = norm.weight.float().square().mean() + norm.bias.float().square().mean()
            scale = tokens.square().mean().sqrt() / (square * linear.in_features).sqrt()
            generator = torch.Generator().manual_seed(self.seed)
            drawn = torch.randn(linear.weight.shape, generator=generator)
            linear.weight.copy_(drawn * scale)
            linear.bias.zero_()

    def _generation_config(self, config: Any) -> Any:
        """Set the tokens of a generation configuration; generation ends with the turn."""
        tokenizer = self.processor().tokenizer
        end = end_of_turn(tokenizer)
        ends = [tokenizer(end, add_special_tokens=False)["input_ids"][-1]] if end else []
        ends += [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
        config.eos_token_id = list(dict.fromkeys(ends)) or None
        config.pad_token_id = tokenizer.pad_token_id
        config.bos_token_id = tokenizer.bos_token_id
        return config


def _listing(files: ModelFiles) -> list[list[Any]]:
    """Name, size and modification time of the files in a folder; empty for a name on the Hub."""
    folder = expand_home(files.source)
    if not folder.is_dir():
        return []
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def _unfit(config: Any) -> str | None:
    """Why a language model does not consist of a decoder and a plain head; None if it does."""
    causal = model_class_for(config, causal_lm=True)
    if causal is None:
        return "transformers has no causal language model of this kind"
    for name, off in _AFTER_DECODER.items():
        if getattr(config, name, off) != off:
            return f"it changes its logits after the head ({name}={getattr(config, name)})"
    with torch.device("meta"):
        model = causal(config)
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or getattr(head, "bias", None) is not None:
        return "its head has a bias" if head is not None else "it has no head"
    width = config.hidden_size
    if embeddings.weight.shape[1] != width or head.weight.shape[1] != width:
        return "its embeddings have another width than its layers"
    if type(getattr(model, model.base_model_prefix)) is not model_class_for(config):
        return "its decoder is not a model of its own in transformers"
    return None

"""A processor without images, for models whose own processor needs torchvision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dramaeval.models.errors import ModelError
from dramaeval.models.loading import ModelFiles


def audio_processor(files: ModelFiles, tokens: Mapping[str, str]) -> Any:
    """Qwen2-Audio's processor around the tokenizer, feature extractor and chat template of a model's files.

    Args:
        files: of the model.
        tokens: for arguments of that processor (``audio_token``, ``audio_bos_token``, ``audio_eos_token``) the attributes
            of the tokenizer that hold their values; an attribute that the tokenizer lacks is left out.

    Raises:
        ModelError: the files cannot be read, or hold no chat template.
    """
    from transformers import AutoFeatureExtractor, AutoTokenizer, Qwen2AudioProcessor

    tokenizer = files.read(AutoTokenizer.from_pretrained)
    extractor = files.read(AutoFeatureExtractor.from_pretrained)
    values, _ = files.read(Qwen2AudioProcessor.get_processor_dict)
    template = values.get("chat_template") or tokenizer.chat_template
    if not template:
        raise ModelError(
            f"The model {files.source} has no chat template: its folder needs chat_template.jinja (or .json)."
        )
    given = {
        argument: token
        for argument, attribute in tokens.items()
        if (token := getattr(tokenizer, attribute, None))
    }
    return Qwen2AudioProcessor(extractor, tokenizer, chat_template=template, **given)

"""Small random models of Gemma's audio families, saved like the published checkpoints, and their logits by transformers."""

import torch
from audio_kinds import TINY, rendered
from transformers import (
    AutoTokenizer,
    Gemma3nAudioFeatureExtractor,
    Gemma3nConfig,
    Gemma3nForConditionalGeneration,
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4UnifiedAudioFeatureExtractor,
    Gemma4UnifiedConfig,
    Gemma4UnifiedForConditionalGeneration,
)

from dramaeval.models.families.gemma3n import Gemma3n as Gemma3nFamily
from dramaeval.models.families.gemma3n import NoImagesConfig
from dramaeval.models.families.gemma4 import Gemma4 as Gemma4Family
from dramaeval.models.families.gemma4_unified import Gemma4Unified as Gemma4UnifiedFamily

#: The documented chat format: the first user message starts with the system message, and texts are trimmed.
TEMPLATE = (
    "{{ bos_token }}{% set system = messages[0]['role'] == 'system' %}"
    "{% for message in (messages[1:] if system else messages) %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' }}"
    "{% if system and loop.first %}{{ messages[0]['content'] + '\\n\\n' }}{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'audio' %}{{ AUDIO }}"
    "{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}{% endif %}{{ '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 8,
    "num_key_value_heads": 2, "sliding_window": 24, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"] * 2, "final_logit_softcapping": 30.0,
}  # fmt: skip


def tokenizer_with(names):
    """The tiny tokenizer with these further tokens, whose ids follow in this order: ``<bos>``, turn tokens, ``names``."""
    turns = {"sot_token": "<start_of_turn>", "eot_token": "<end_of_turn>"}
    tokenizer = AutoTokenizer.from_pretrained(
        TINY, bos_token="<bos>", extra_special_tokens={**turns, **names}
    )
    tokenizer.chat_template = TEMPLATE.replace("AUDIO", repr(names["audio_token"]))
    return tokenizer


def randomise(model):
    """Set random weights, so that every part changes the logits; some weights of a new model are zero."""
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn_like(weight) * 0.2
            weight.copy_(noise if weight.dim() > 1 else weight + noise)


class Gemma3n:
    """Gemma 3n, without its processor (which needs torchvision) and its image encoder (which needs timm)."""

    name, family, long_windows = "gemma3n", Gemma3nFamily, None
    frozen = ("model.embed_vision.",)

    @staticmethod
    def write(folder, tokenizer):
        tokenizer = tokenizer_with(
            {
                "boi_token": "<start_of_image>", "boa_token": "<start_of_audio>", "eoi_token": "<end_of_image>",
                "image_token": "<image_soft_token>", "eoa_token": "<end_of_audio>", "audio_token": "<audio_soft_token>",
            }
        )  # fmt: skip
        images, audio = tokenizer.eoi_token_id, tokenizer.eoa_token_id
        config = Gemma3nConfig(
            text_config={**TEXT, "vocab_size": audio + 4, "vocab_size_per_layer_input": images, "laurel_rank": 4,
                         "altup_num_inputs": 2, "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0]},
            audio_config={"hidden_size": 32, "conf_num_attention_heads": 4, "conf_num_hidden_layers": 2,
                          "sscp_conv_channel_size": (4, 4), "vocab_offset": audio, "vocab_size": 4},
            vision_config={"hidden_size": 16, "vocab_offset": images, "vocab_size": 2},
            boi_token_id=tokenizer.boi_token_id, eoi_token_id=images, image_token_id=tokenizer.image_token_id,
            boa_token_id=tokenizer.boa_token_id, eoa_token_id=audio, audio_token_id=tokenizer.audio_token_id,
        )  # fmt: skip
        model = Gemma3nForConditionalGeneration(Gemma3n.without_images(config))
        randomise(model)
        model.config.vision_config = config.vision_config
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        Gemma3nAudioFeatureExtractor().save_pretrained(folder)

    @staticmethod
    def without_images(config):
        """A copy of the config with an empty image encoder."""
        config = Gemma3nConfig(**config.to_dict())
        config.vision_config = NoImagesConfig(**config.vision_config.to_dict())
        return config

    @staticmethod
    def logits(folder, messages, wave):
        config = Gemma3n.without_images(Gemma3nConfig.from_pretrained(folder))
        plain = Gemma3nForConditionalGeneration.from_pretrained(folder, config=config).eval()
        inputs = Gemma3nAudioFeatureExtractor.from_pretrained(folder)([wave], return_tensors="pt")
        # Gemma3nProcessor.full_audio_sequence
        return plain_logits(plain, folder, messages, inputs, "\n\n{}{}{}\n\n", 188)


def gemma4_tokens():
    """A tokenizer with Gemma 4's marks, and their ids as its configuration names them."""
    tokenizer = tokenizer_with(
        {
            "boi_token": "<|image>", "boa_token": "<|audio>", "image_token": "<|image|>", "audio_token": "<|audio|>",
            "eoi_token": "<image|>", "eoa_token": "<audio|>", "video_token": "<|video|>",
        }
    )  # fmt: skip
    names = ("boi", "eoi", "boa", "image", "audio", "video")
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in names}
    return tokenizer, {**ids, "eoa_token_index": tokenizer.eoa_token_id}


class Gemma4:
    """Gemma 4, without its processor, which needs torchvision."""

    name, family, long_windows = "gemma4", Gemma4Family, None
    frozen = ("model.embed_vision.", "model.vision_tower.")

    @staticmethod
    def write(folder, tokenizer):
        tokenizer, ids = gemma4_tokens()
        config = Gemma4Config(
            text_config={**TEXT, "vocab_size": len(tokenizer), "vocab_size_per_layer_input": len(tokenizer),
                         "global_head_dim": 16, "pad_token_id": tokenizer.pad_token_id},
            audio_config={"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "output_proj_dims": 24,
                          "subsampling_conv_channels": [128, 4]},
            vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                           "num_key_value_heads": 2, "head_dim": 8, "position_embedding_size": 16},
            **ids,
        )  # fmt: skip
        model = Gemma4ForConditionalGeneration(config)
        randomise(model)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        Gemma4AudioFeatureExtractor().save_pretrained(folder)

    @staticmethod
    def logits(folder, messages, wave):
        plain = Gemma4ForConditionalGeneration.from_pretrained(folder).eval()
        inputs = Gemma4AudioFeatureExtractor.from_pretrained(folder)([wave], return_tensors="pt")
        # Gemma4Processor.replace_audio_token
        count = int(inputs.input_features_mask[0][::2][::2].sum())
        return plain_logits(plain, folder, messages, inputs, "{}{}{}", count)


class Gemma4Unified:
    """Without its processor, which needs torchvision. One of its four layers has one matrix for keys and values."""

    name, family, long_windows = "gemma4_unified", Gemma4UnifiedFamily, 1
    frozen = ("model.embed_vision.",)
    model_class = Gemma4UnifiedForConditionalGeneration

    @staticmethod
    def write(folder, tokenizer):
        tokenizer, ids = gemma4_tokens()
        text = {key: value for key, value in TEXT.items() if key != "hidden_size_per_layer_input"}
        config = Gemma4UnifiedConfig(
            text_config={**text, "vocab_size": len(tokenizer), "global_head_dim": 16, "attention_k_eq_v": True,
                         "num_global_key_value_heads": 1, "pad_token_id": tokenizer.pad_token_id},
            audio_config={},
            vision_config={"patch_size": 2, "mm_embed_dim": 16, "mm_posemb_size": 4, "output_proj_dims": 16},
            **ids,
        )  # fmt: skip
        model = Gemma4UnifiedForConditionalGeneration(config)
        randomise(model)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        Gemma4UnifiedAudioFeatureExtractor().save_pretrained(folder)

    @staticmethod
    def logits(folder, messages, wave):
        plain = Gemma4UnifiedForConditionalGeneration.from_pretrained(folder).eval()
        extractor = Gemma4UnifiedAudioFeatureExtractor.from_pretrained(folder)
        inputs = extractor([wave], return_tensors="pt")
        # Gemma4UnifiedProcessor.replace_audio_token
        count = int(inputs.input_features_mask[0].sum())
        return plain_logits(plain, folder, messages, inputs, "{}{}{}", count)


def plain_logits(plain, folder, messages, inputs, clip_format, count):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    clip = clip_format.format(
        tokenizer.boa_token, tokenizer.audio_token * count, tokenizer.eoa_token
    )
    text = rendered(tokenizer, messages).replace(tokenizer.audio_token, clip)
    given = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    with torch.no_grad():
        return plain(
            **given,
            input_features=inputs.input_features,
            input_features_mask=inputs.input_features_mask.bool(),
        ).logits[0, -1]

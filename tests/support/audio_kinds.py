"""Small random models of every audio family, in the files of its published checkpoints, with transformers' logits."""

import base64
import io
import json
import math
from functools import cache
from pathlib import Path
from types import MappingProxyType

import librosa
import numpy as np
import soundfile
import torch
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    AutoTokenizer,
    GlmAsrConfig,
    GlmAsrForConditionalGeneration,
    GlmAsrProcessor,
    GraniteSpeechConfig,
    GraniteSpeechForConditionalGeneration,
    GraniteSpeechPlusConfig,
    GraniteSpeechPlusForConditionalGeneration,
    MusicFlamingoConfig,
    MusicFlamingoForConditionalGeneration,
    MusicFlamingoProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    WhisperFeatureExtractor,
)
from transformers.models.qwen3_omni_moe import processing_qwen3_omni_moe

from dramaeval.config.schema import PACKAGE
from dramaeval.models.families.audio_flamingo3 import AudioFlamingo3
from dramaeval.models.families.glm_asr import GlmAsr
from dramaeval.models.families.granite_speech import GraniteSpeech, GraniteSpeechPlus
from dramaeval.models.families.music_flamingo import MusicFlamingo
from dramaeval.models.families.qwen2_5_omni import Qwen25Omni
from dramaeval.models.families.qwen3_omni import Qwen3Omni
from dramaeval.models.families.voxtral import Voxtral

TINY = PACKAGE / "models" / "tiny"
RATE = 16_000
WORDS = AutoTokenizer.from_pretrained(TINY)
TEXT = {
    "vocab_size": len(WORDS), "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2, "tie_word_embeddings": False,
}  # fmt: skip
AUDIO = {
    "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48,
    "initializer_range": 0.2,
}  # fmt: skip


@cache
def loaded(kind, folder):
    """A model, a tokenizer or a feature extractor of a folder that no test changes."""
    value = kind.from_pretrained(folder)
    return value.eval() if isinstance(value, torch.nn.Module) else value


class Omni:
    """Without its processor, which needs torchvision; the features have that processor's settings."""

    name, family, long_windows = "qwen2_5_omni", Qwen25Omni, 1
    model_class = Qwen2_5OmniThinkerForConditionalGeneration
    frozen = ("model.visual.", "audio_bos_eos_token")
    rope = MappingProxyType({"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]})
    vision = MappingProxyType(
        {
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": 48,
        }
    )
    #: Of the feature extractor in the processor.
    padding = MappingProxyType({"padding": "max_length"})

    @classmethod
    def config(cls, token):
        return Qwen2_5OmniThinkerConfig(
            audio_config={**AUDIO, "output_dim": 48},
            vision_config={**cls.vision, "fullatt_block_indexes": [0]},
            text_config={**TEXT, "rope_parameters": dict(cls.rope)}, audio_token_index=token("<|AUDIO|>"),
            audio_start_token_id=token("<|audio_bos|>"), audio_end_token_id=token("<|audio_eos|>"),
            image_token_index=1000, video_token_index=1001, vision_start_token_id=1002, initializer_range=0.2,
        )  # fmt: skip

    @staticmethod
    def positions(frames):
        """`Qwen2_5OmniProcessor.replace_audio_token`."""
        return (((frames - 1) // 2 + 1) - 2) // 2 + 1

    @classmethod
    def write(cls, folder, tokenizer):
        cls.model_class(cls.config(tokenizer.convert_tokens_to_ids)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        # 300 s, as in the published checkpoints.
        WhisperFeatureExtractor(
            feature_size=128, chunk_length=300, return_attention_mask=True
        ).save_pretrained(folder)

    @classmethod
    def logits(cls, folder, messages, wave):
        plain = loaded(cls.model_class, folder)
        tokenizer = loaded(AutoTokenizer, folder)
        inputs = loaded(WhisperFeatureExtractor, folder)(
            wave, sampling_rate=RATE, return_attention_mask=True, return_tensors="pt", **cls.padding
        )  # fmt: skip
        count = int(cls.positions(inputs.attention_mask.sum()))
        text = rendered(tokenizer, messages).replace("<|AUDIO|>", "<|AUDIO|>" * count)
        given = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            return plain(
                **given,
                input_features=inputs.input_features,
                feature_attention_mask=inputs.attention_mask,
            ).logits[0, -1]


class Omni3(Omni):
    """With a mixture of experts, and features that are not padded."""

    name, family = "qwen3_omni", Qwen3Omni
    model_class = Qwen3OmniMoeThinkerForConditionalGeneration
    frozen = ("model.visual.", ".mlp.gate.weight")
    # Qwen3OmniMoeProcessor.audio_kwargs
    padding = MappingProxyType({"padding": True, "truncation": False})
    positions = staticmethod(processing_qwen3_omni_moe._get_feat_extract_output_lengths)

    @classmethod
    def config(cls, token):
        rope = {**cls.rope, "mrope_interleaved": True}
        return Qwen3OmniMoeThinkerConfig(
            # Windows of two seconds, so that a short clip has several.
            audio_config={**AUDIO, "output_dim": 48, "downsample_hidden_size": 8, "n_window_infer": 200},
            vision_config={**cls.vision, "deepstack_visual_indexes": [0]},
            text_config={**TEXT, "rope_parameters": rope, "num_experts": 4, "num_experts_per_tok": 2,
                         "moe_intermediate_size": 32},
            audio_token_id=token("<|AUDIO|>"), audio_start_token_id=token("<|audio_bos|>"),
            image_token_id=1000, video_token_id=1001, vision_start_token_id=1002, initializer_range=0.2,
        )  # fmt: skip


class Flamingo:
    """With the processor of transformers."""

    name, family, long_windows = "audio_flamingo3", AudioFlamingo3, 3
    model_class, processor_class = AudioFlamingo3ForConditionalGeneration, AudioFlamingo3Processor
    frozen = ("embed_positions",)

    @staticmethod
    def write(folder, tokenizer):
        config = AudioFlamingo3Config(
            audio_config=AUDIO, text_config={**TEXT, "model_type": "qwen2"},
            audio_token_id=tokenizer.convert_tokens_to_ids("<|AUDIO|>"), initializer_range=0.2,
        )  # fmt: skip
        AudioFlamingo3ForConditionalGeneration(config).save_pretrained(folder)
        AudioFlamingo3Processor(
            WhisperFeatureExtractor(feature_size=128, return_attention_mask=True),
            tokenizer,
            chat_template=tokenizer.chat_template,
            audio_token="<|AUDIO|>",
        ).save_pretrained(folder)

    @classmethod
    def logits(cls, folder, messages, wave):
        plain = loaded(cls.model_class, folder)
        processor = loaded(cls.processor_class, folder)
        text = rendered(processor, messages)
        inputs = processor(text=[text], audio=[wave], sampling_rate=RATE)
        with torch.no_grad():
            return plain(**inputs).logits[0, -1]


class Music(Flamingo):
    """With marks around a clip, which its processor writes."""

    name, family = "music_flamingo", MusicFlamingo

    @staticmethod
    def write(folder, tokenizer):
        marks = ["<sound>", "<|sound_bos|>", "<|sound_eos|>"]
        tokenizer.add_special_tokens({"additional_special_tokens": marks})
        clip = "<|audio_bos|><|AUDIO|><|audio_eos|>"
        template = tokenizer.chat_template.replace(clip, "<sound>")
        token = tokenizer.convert_tokens_to_ids
        config = MusicFlamingoConfig(
            audio_config={**AUDIO, "model_type": "audioflamingo3_encoder"},
            text_config={**TEXT, "model_type": "qwen2", "vocab_size": len(tokenizer)},
            audio_token_id=token(marks[0]), audio_bos_token_id=token(marks[1]), audio_eos_token_id=token(marks[2]),
            initializer_range=0.2,
        )  # fmt: skip
        MusicFlamingoForConditionalGeneration(config).save_pretrained(folder)
        extractor = WhisperFeatureExtractor(feature_size=128, return_attention_mask=True)
        MusicFlamingoProcessor(extractor, tokenizer, chat_template=template).save_pretrained(folder)

    model_class, processor_class = MusicFlamingoForConditionalGeneration, MusicFlamingoProcessor


class Glm(Flamingo):
    """With the marks of its chat template."""

    name, family = "glm_asr", GlmAsr
    frozen = ()
    model_class, processor_class = GlmAsrForConditionalGeneration, GlmAsrProcessor

    @staticmethod
    def write(folder, tokenizer):
        marks = ["<|begin_of_audio|>", "<|pad|>", "<|end_of_audio|>"]
        tokenizer.add_special_tokens({"additional_special_tokens": marks})
        clip = "<|audio_bos|><|AUDIO|><|audio_eos|>"
        template = tokenizer.chat_template.replace(clip, "".join(marks))
        config = GlmAsrConfig(
            audio_config={"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2,
                          "num_attention_heads": 4, "initializer_range": 0.2},
            text_config={**TEXT, "model_type": "llama", "vocab_size": len(tokenizer)},
            audio_token_id=tokenizer.convert_tokens_to_ids("<|pad|>"), initializer_range=0.2,
        )  # fmt: skip
        GlmAsrForConditionalGeneration(config).save_pretrained(folder)
        extractor = WhisperFeatureExtractor(feature_size=128, return_attention_mask=True)
        GlmAsrProcessor(extractor, tokenizer, chat_template=template).save_pretrained(folder)


class Mistrals:
    """With the processor of transformers and a part of the vocabulary in Mistral's package."""

    name, family, long_windows = "voxtral", Voxtral, None
    frozen = ("embed_positions",)

    @staticmethod
    def write(folder, tokenizer):
        Mistrals.vocabulary(folder)
        config = VoxtralConfig(
            audio_config={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                          "intermediate_size": 128, "initializer_range": 0.2},
            text_config={**TEXT, "model_type": "llama"}, audio_token_id=24, initializer_range=0.2,
        )  # fmt: skip
        VoxtralForConditionalGeneration(config).save_pretrained(folder)
        WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)

    @staticmethod
    def vocabulary(folder, size=3000):
        """Write a vocabulary in the layout of Voxtral's tekken.json."""
        from mistral_common import tokens

        file = Path(tokens.__file__).parents[1] / "data" / "tekken_240911.json"
        values = json.loads(file.read_text(encoding="utf-8"))
        named = {0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 5: "[AVAILABLE_TOOLS]",
                 6: "[/AVAILABLE_TOOLS]", 7: "[TOOL_RESULTS]", 8: "[/TOOL_RESULTS]", 9: "[TOOL_CALLS]",
                 10: "[IMG]", 11: "<pad>", 12: "[IMG_BREAK]", 13: "[IMG_END]", 14: "[PREFIX]",
                 15: "[MIDDLE]", 16: "[SUFFIX]", 17: "[SYSTEM_PROMPT]", 18: "[/SYSTEM_PROMPT]",
                 19: "[TOOL_CONTENT]", 24: "[AUDIO]", 25: "[BEGIN_AUDIO]", 34: "[TRANSCRIBE]"}  # fmt: skip
        values["special_tokens"] = [
            {"rank": at, "token_str": named.get(at, f"<SPECIAL_{at}>"), "is_control": True}
            for at in range(100)
        ]
        values["config"] |= {"version": "v7", "default_num_special_tokens": 100}
        values["config"] |= {"default_vocab_size": size, "num_vocab_tokens": size - 100}
        values["vocab"] = values["vocab"][: size - 100]
        del values["image"]
        audio = {"num_mel_bins": 128, "hop_length": 160, "window_size": 400}
        values["audio"] = {"sampling_rate": RATE, "frame_rate": 12.5, "chunk_length_s": 30.0,
                         "audio_encoding_config": audio}  # fmt: skip
        (folder / "tekken.json").write_text(json.dumps(values), encoding="utf-8")

    @staticmethod
    def logits(folder, messages, wave):
        from transformers import MistralCommonBackend, VoxtralProcessor

        plain = loaded(VoxtralForConditionalGeneration, folder)
        tokenizer = loaded(MistralCommonBackend, folder)
        processor = VoxtralProcessor(loaded(WhisperFeatureExtractor, folder), tokenizer)
        system, user = messages
        file = io.BytesIO()
        soundfile.write(file, wave, RATE, format="WAV", subtype="FLOAT")
        clip = {"type": "audio", "base64": base64.b64encode(file.getvalue()).decode()}
        content = [clip if part["type"] == "audio" else part for part in user["content"]]
        content = [{"type": "text", "text": system["content"]}, *content]
        inputs = processor.apply_chat_template([{"role": "user", "content": content}])
        lead = tokenizer("<answer>", add_special_tokens=False, return_tensors="pt").input_ids
        ids = torch.cat([inputs.input_ids, lead.view(1, -1)], dim=1)
        with torch.no_grad():
            return plain(input_ids=ids, input_features=inputs.input_features).logits[0, -1]


class Granite:
    """With the chat format of Granite 3.3, and librosa's features in place of torchaudio's."""

    name, family, long_windows = "granite_speech", GraniteSpeech, 1
    model_class, config_class = GraniteSpeechForConditionalGeneration, GraniteSpeechConfig
    frozen = ()
    encoder = MappingProxyType({})
    encoder_width = 32
    TEMPLATE = (
        "{% for message in messages %}<|start_of_role|>{{ message['role'] }}<|end_of_role|>"
        "{{ message['content'] + '<|end_of_text|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
    )

    @classmethod
    def write(cls, folder, tokenizer):
        special = ["<|audio|>", "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"]
        tokenizer.add_special_tokens({"additional_special_tokens": special})
        tokenizer.chat_template = cls.TEMPLATE
        config = cls.config_class(
            encoder_config={"num_layers": 2, "hidden_dim": 32, "num_heads": 4, "output_dim": 10,
                            "context_size": 40, "max_pos_emb": 64, "conv_kernel_size": 7, "feedforward_mult": 2,
                            "initializer_range": 0.2, **cls.encoder},
            projector_config={"model_type": "blip_2_qformer", "hidden_size": 32, "num_hidden_layers": 2,
                              "num_attention_heads": 4, "intermediate_size": 48, "cross_attention_frequency": 1,
                              "encoder_hidden_size": cls.encoder_width, "initializer_range": 0.2},
            text_config={**TEXT, "model_type": "granite", "vocab_size": len(tokenizer), "embedding_multiplier": 2.0},
            audio_token_index=tokenizer.convert_tokens_to_ids("<|audio|>"), initializer_range=0.2,
            has_lora_adapter=False, tie_word_embeddings=False,
        )  # fmt: skip
        cls.model_class(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        # As in the published preprocessor_config.json.
        values = {
            "feature_extractor_type": "GraniteSpeechFeatureExtractor", "sampling_rate": RATE,
            "melspec_kwargs": {"hop_length": 160, "n_fft": 512, "n_mels": 80, "sample_rate": RATE, "win_length": 400},
            "projector_downsample_rate": 5, "projector_window_size": 15,
        }  # fmt: skip
        (folder / "preprocessor_config.json").write_text(json.dumps(values), encoding="utf-8")

    @staticmethod
    def features(wave):
        """`GraniteSpeechFeatureExtractor._extract_mel_spectrograms` with librosa's filters, and the prompt positions."""
        mel = librosa.feature.melspectrogram(
            y=wave, sr=RATE, n_fft=512, win_length=400, hop_length=160, pad_mode="reflect", n_mels=80,
            htk=True, norm=None,
        )  # fmt: skip
        log = np.log10(np.maximum(mel.T, 1e-10))
        log = np.maximum(log, log.max() - 8) / 4 + 1
        log = log[: len(log) // 2 * 2]
        # GraniteSpeechFeatureExtractor._get_num_audio_features
        count = math.ceil((len(wave) // 160 + 1) // 2 / 15) * 3
        return torch.from_numpy(log.reshape(1, -1, 160)).float(), count

    @classmethod
    def logits(cls, folder, messages, wave):
        plain = loaded(cls.model_class, folder)
        tokenizer = loaded(AutoTokenizer, folder)
        features, count = cls.features(wave)
        texts = [
            {**message, "content": "".join(part.get("text", "<|audio|>" * count) for part in parts)}
            for message in messages
            for parts in [message["content"] if isinstance(message["content"], list) else [{"text": message["content"]}]]
        ]  # fmt: skip
        given = tokenizer(rendered(tokenizer, texts), add_special_tokens=False, return_tensors="pt")
        mask = torch.ones(1, count, dtype=torch.bool)
        with torch.no_grad():
            return plain(**given, input_features=features, input_features_mask=mask).logits[0, -1]


class GranitePlus(Granite):
    """With the outputs of the first layer beside those of the last."""

    name, family = "granite_speech_plus", GraniteSpeechPlus
    model_class, config_class = GraniteSpeechPlusForConditionalGeneration, GraniteSpeechPlusConfig
    encoder, encoder_width = MappingProxyType({"cat_hidden_layers": [1]}), 64


def rendered(processor, messages):
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text + "<answer>"

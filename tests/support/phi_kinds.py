"""A small random Phi-4-multimodal with a speech adapter, saved like the published checkpoint."""

import torch
from audio_kinds import RATE, rendered
from gemma_kinds import randomise
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoTokenizer,
    Phi4MultimodalConfig,
    Phi4MultimodalFeatureExtractor,
    Phi4MultimodalForCausalLM,
)

from dramaeval.models.families.phi4_multimodal import SPEECH_ADAPTER, Phi4Multimodal

#: The documented chat format.
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


class Phi4:
    """Phi-4-multimodal, without its processor, which needs torchvision; the adapter is loaded as documented."""

    name, family, long_windows = "phi4_multimodal", Phi4Multimodal, 1
    frozen = (".image_embed.", "_proj_for_vision_speech.")

    @staticmethod
    def write(folder, tokenizer):
        tokens = {"audio_token": "<|audio|>", "image_token": "<|image|>"}
        tokenizer.add_special_tokens(
            {"additional_special_tokens": [*tokens.values(), "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]}
        )  # fmt: skip
        tokenizer.save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, extra_special_tokens=tokens)
        tokenizer.chat_template = TEMPLATE
        tokenizer.save_pretrained(folder)
        Phi4MultimodalFeatureExtractor().save_pretrained(folder)
        config = Phi4MultimodalConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, sliding_window=262144, bos_token_id=0, eos_token_id=0,
            pad_token_id=0,
            audio_config={"hidden_size": 32, "intermediate_size": 48, "num_blocks": 2, "num_attention_heads": 4,
                          "ext_pw_out_channel": 32, "depthwise_separable_out_channel": 32, "nemo_conv_channels": 8,
                          "audio_token_id": tokenizer.audio_token_id},
            vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                           "image_size": 28, "crop_size": 28, "image_token_id": tokenizer.image_token_id},
        )  # fmt: skip
        model = Phi4MultimodalForCausalLM(config)
        randomise(model)
        model.save_pretrained(folder)
        layers = r"model\.layers\..*(qkv_proj|o_proj|gate_up_proj|down_proj)"
        settings = LoraConfig(r=2, lora_alpha=4, target_modules=layers, init_lora_weights=False)
        get_peft_model(model, settings).save_pretrained(folder / SPEECH_ADAPTER)

    @staticmethod
    def logits(folder, messages, wave):
        plain = Phi4MultimodalForCausalLM.from_pretrained(folder)
        plain.load_adapter(str(folder), adapter_kwargs={"subfolder": SPEECH_ADAPTER})
        tokenizer = AutoTokenizer.from_pretrained(folder)
        inputs = Phi4MultimodalFeatureExtractor.from_pretrained(folder)(
            wave, sampling_rate=RATE, return_tensors="pt"
        )
        texts = [
            {**message, "content": "".join(part.get("text", "<|audio|>") for part in parts)}
            for message in messages
            for parts in [message["content"] if isinstance(message["content"], list) else [{"text": message["content"]}]]
        ]  # fmt: skip
        # Phi4MultimodalProcessor.replace_audio_token
        clip = "<|audio|>" * int(inputs.audio_embed_sizes[0])
        text = rendered(tokenizer, texts).replace("<|audio|>", clip)
        given = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            return plain.eval()(**given, **inputs).logits[0, -1]

"""What `dramaeval.compat.transformers` assumes about transformers, on models of one layer."""

import inspect
import json

import pytest
import torch
from contracts import contract
from safetensors.torch import save_file
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoConfig,
    AutoModel,
    BloomModel,
    DynamicCache,
    LlamaForCausalLM,
    LlamaModel,
    PreTrainedConfig,
    Qwen2AudioConfig,
    Qwen2AudioEncoder,
    Qwen2AudioForConditionalGeneration,
    Trainer,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import create_bidirectional_mask, sdpa_mask

from dramaeval.compat import transformers as entries

SIZES = {
    "vocab_size": 16, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 2,
}  # fmt: skip
AUDIO = {
    "d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16,
    "num_mel_bins": 8,
}  # fmt: skip


def audio_config():
    return Qwen2AudioConfig(audio_config=AUDIO, text_config={**SIZES, "model_type": "qwen2"})


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_encode_frames_equals_the_encoder_over_padded_inputs(attention):
    torch.manual_seed(0)
    config = audio_config().audio_config
    config._attn_implementation = attention
    encoder = Qwen2AudioEncoder(config).eval()
    frames = torch.tensor([200, 96])
    features = torch.zeros(2, 8, 3000)
    for row, count in enumerate(frames):
        features[row, :, :count] = torch.randn(8, count)
    valid = torch.arange(1500)[None] < ((frames - 1) // 2 + 1)[:, None]
    mask = create_bidirectional_mask(
        config=config, inputs_embeds=torch.zeros(2, 1500, 1), attention_mask=valid
    )
    with contract(entries.encode_frames), torch.no_grad():
        expected = encoder(features, attention_mask=mask).last_hidden_state
        output = entries.encode_frames(encoder, features[:, :, :200], frames)
        for row, steps in enumerate((50, 24)):
            torch.testing.assert_close(output[row, :steps], expected[row, :steps])


def test_old_weight_names_are_converted_for_a_subclass(tmp_path):
    class_ = type(
        Qwen2AudioForConditionalGeneration.__name__,
        (entries.OwnWeightNames, Qwen2AudioForConditionalGeneration),
        {},
    )
    model = Qwen2AudioForConditionalGeneration(audio_config())
    model.save_pretrained(tmp_path / "new")
    (tmp_path / "old").mkdir()
    model.config.save_pretrained(tmp_path / "old")
    weights = {
        name.replace("model.language_model.", "language_model.model.")
        .replace("lm_head.", "language_model.lm_head.")
        .removeprefix("model."): weight.clone()
        for name, weight in model.state_dict().items()
    }
    save_file(weights, tmp_path / "old" / "model.safetensors", {"format": "pt"})
    with contract(entries.OwnWeightNames):
        for folder in ("new", "old"):
            judge, report = class_.from_pretrained(tmp_path / folder, output_loading_info=True)
            assert not report["missing_keys"]
            assert not report["unexpected_keys"]
            for name, weight in judge.state_dict().items():
                torch.testing.assert_close(weight, model.state_dict()[name])
        judge.save_pretrained(tmp_path / "saved")
        saved = json.loads((tmp_path / "saved" / "config.json").read_text(encoding="utf-8"))
        assert saved["architectures"] == ["Qwen2AudioForConditionalGeneration"]


@pytest.mark.parametrize("kind", ["qwen2", "llama", "gemma", "granite", "qwen3", "opt"])
def test_the_carrier_mask_reaches_the_attention_unchanged(kind):
    masks = []

    def attention(module, query, key, value, attention_mask, **kwargs):
        masks.append(attention_mask)
        return sdpa_attention_forward(module, query, key, value, None, **kwargs)

    AttentionInterface.register("records_masks", attention)
    AttentionMaskInterface.register("records_masks", sdpa_mask)
    config = AutoConfig.for_model(kind, **SIZES, **({"head_dim": 8} if kind == "gemma" else {}))
    decoder = AutoModel.from_config(config)
    mask = entries.carrier_mask(torch.tensor([[True, True, False]]), 2)
    with contract(entries.carrier_mask), torch.no_grad():
        decoder.set_attn_implementation("records_masks")
        decoder(
            inputs_embeds=torch.zeros(1, 5, 16),
            attention_mask=mask,
            position_ids=torch.arange(5)[None],
            use_cache=False,
        )
        (reached,) = masks[: config.num_hidden_layers]
        assert reached.dtype == torch.uint8
        assert torch.equal(reached, mask)


@pytest.mark.parametrize("kind", ["qwen2", "llama", "opt"])
def test_cache_argument_names_the_cache_of_each_model(kind):
    decoder = AutoModel.from_config(AutoConfig.for_model(kind, **SIZES))
    cache = DynamicCache()
    with contract(entries.cache_argument), torch.no_grad():
        decoder(
            input_ids=torch.tensor([[1, 2, 3]]),
            use_cache=True,
            **{entries.cache_argument(decoder): cache},
        )
        assert cache.get_seq_length() == 3


def test_attention_implementation_returns_the_name_that_was_set():
    model = LlamaModel(AutoConfig.for_model("llama", **SIZES))
    with contract(entries.attention_implementation):
        for name in ("sdpa", "eager"):
            model.set_attn_implementation(name)
            assert entries.attention_implementation(model.config) == name


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_the_attention_named_in_a_config_file_is_not_used(tmp_path, key):
    values = AutoConfig.for_model("llama", **SIZES).to_dict() | {key: "owner/kernel"}
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    config = AutoConfig.from_pretrained(tmp_path)
    with contract(entries.forget_attention_implementation):
        entries.forget_attention_implementation(config)
        model = LlamaModel(config)
        assert entries.attention_implementation(model.config) in ("sdpa", "eager")


def test_model_class_for_returns_the_class_of_a_configuration():
    class UnknownConfig(PreTrainedConfig):
        model_type = "unknown"

    config = AutoConfig.for_model("llama", **SIZES)
    with contract(entries.model_class_for):
        assert entries.model_class_for(config) is LlamaModel
        assert entries.model_class_for(config, causal_lm=True) is LlamaForCausalLM
        assert entries.model_class_for(UnknownConfig()) is None


def test_models_without_registered_attention_are_recognised():
    with contract(entries.takes_registered_attention):
        assert entries.takes_registered_attention(LlamaModel)
        assert not entries.takes_registered_attention(BloomModel)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_save_checkpoint", ["self", "model", "trial"]),
        ("_load_from_checkpoint", ["self", "resume_from_checkpoint", "model"]),
        ("_load_best_model", ["self"]),
    ],
)
def test_the_trainer_calls_the_replaced_methods(name, parameters):
    with contract(entries.checkpoint_hooks):
        assert list(inspect.signature(getattr(Trainer, name)).parameters) == parameters
        assert f"self.{name}(" in inspect.getsource(inspect.getmodule(Trainer))


def test_a_file_that_a_model_lacks_is_none_and_a_missing_folder_an_error(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with contract(entries.file_if_exists):
        found = entries.file_if_exists(str(tmp_path), "config.json", subfolder="")
        assert found == str(tmp_path / "config.json")
        assert entries.file_if_exists(str(tmp_path), "adapter_config.json", subfolder="") is None
        with pytest.raises(OSError, match="elsewhere"):
            entries.file_if_exists(
                str(tmp_path / "elsewhere"), "config.json", local_files_only=True
            )

"""Qwen2-Audio checkpoints with the language model of another architecture, against plain transformers."""

import itertools

import pytest
import torch
from plain_judge import encode_each_clip_once
from transformers import (
    AutoConfig,
    AutoProcessor,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
)

from dramaeval.config.schema import PACKAGE
from dramaeval.data.audio import decode
from dramaeval.data.records import read_records
from dramaeval.models.adapters import attach, count_parameters
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.forward import prefix_support
from dramaeval.models.forward.generation import CachedGeneration, UncachedGeneration
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task
from dramaeval.stages.training_arguments import build_adapter

TINY = PACKAGE / "models" / "tiny"
CPU = torch.device("cpu")
RATE = 16_000
AUDIO = {
    "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48,
    "num_mel_bins": 128, "initializer_range": 0.2,
}  # fmt: skip
SIZES = {
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.2, "tie_word_embeddings": False,
    "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
WINDOW = {"sliding_window": 16}
#: What an architecture needs besides `SIZES`.
KINDS = {
    "qwen2": {},
    "llama": {},  # also SmolLM
    "qwen3": {"head_dim": 12},
    "gemma": {"head_dim": 12},
    "granite": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 48, "init_std": 0.2},
    "phi3": {},
    "gpt_neox": {},
    "mistral": WINDOW,
    "gemma3_text": {**WINDOW, "head_dim": 12, "layer_types": ["sliding_attention", "full_attention"]},
    "gemma4_unified_text": {
        **WINDOW, "head_dim": 12, "global_head_dim": 16, "layer_types": ["sliding_attention", "full_attention"],
    },
}  # fmt: skip
WINDOWED = ("mistral", "gemma3_text", "gemma4_unified_text")


@pytest.fixture(scope="module")
def checkpoint_of(tmp_path_factory):
    """A folder with a small random Qwen2-Audio whose language model is of a kind."""
    folders = {}
    processor = AutoProcessor.from_pretrained(TINY)
    token = processor.tokenizer.convert_tokens_to_ids("<|AUDIO|>")

    def build(kind):
        if kind not in folders:
            torch.manual_seed(0)
            text = {
                "model_type": kind,
                "vocab_size": len(processor.tokenizer),
                **SIZES,
                **KINDS[kind],
            }
            config = Qwen2AudioConfig(
                audio_config=AUDIO, text_config=text, audio_token_index=token, initializer_range=0.2
            )  # fmt: skip
            folders[kind] = tmp_path_factory.mktemp(kind)
            Qwen2AudioForConditionalGeneration(config).save_pretrained(folders[kind])
            processor.save_pretrained(folders[kind])
        return folders[kind]

    return build


@pytest.fixture
def encoded(composed, make_clips):
    """A record encoder of a family, two clips and their questions."""

    def build(family):
        task = build_task(composed())
        records = read_records(
            make_clips("clip", 2, seconds=(0.3, 1.2)), task.record_format()
        ).records
        encoder = RecordEncoder(task, family.processor(), family, max_seconds=30, cache_clips=2)
        return task, records, encoder

    return build


@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_the_plain_forward(checkpoint_of, encoded, kind):
    folder = checkpoint_of(kind)
    family = Qwen2Audio(path=str(folder))
    task, records, encoder = encoded(family)
    dimensions = task.dimensions[::5]
    judge, layouts = family.load(CPU), []
    for shared in (True, False):
        batch = collate(
            [encoder.encode(record, dimensions) for record in records],
            pad=encoder.pad,
            shared_prefix=shared,
        )
        with torch.no_grad():
            layouts.append(judge(**batch.inputs).logits)
    plain = Qwen2AudioForConditionalGeneration.from_pretrained(folder).eval()
    encode_each_clip_once(plain)
    processor = AutoProcessor.from_pretrained(folder)
    for row, (record, dimension) in enumerate(itertools.product(records, dimensions)):
        text = processor.apply_chat_template(
            task.messages(record, dimension), tokenize=False, add_generation_prompt=True
        )
        inputs = processor(
            text=text + "<answer>",
            audio=decode(record.clip, RATE),
            sampling_rate=RATE,
            return_tensors="pt",
        )
        with torch.no_grad():
            expected = plain(**inputs).logits[0, -1]
        for logits in layouts:
            torch.testing.assert_close(logits[row], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("kind", "sizes", "reason"),
    [
        ("starcoder2", {"sliding_window": 16}, "within a window of 16"),
        ("gemma2", {}, "sliding_attention"),
        (
            "mistral",
            {"layer_types": ["chunked_attention"], "num_hidden_layers": 1},
            "chunked_attention",
        ),
        ("mistral", {"sliding_window": 16}, None),
        ("starcoder2", {"sliding_window": None}, None),
    ],
)
def test_a_window_is_shared_by_tested_architectures_only(kind, sizes, reason):
    found = prefix_support.problem(AutoConfig.for_model(kind, **sizes))
    assert (found is None) if reason is None else (found.startswith(kind) and reason in found)


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", *WINDOWED])
def test_cached_generation_equals_a_pass_per_token(checkpoint_of, encoded, kind):
    family = Qwen2Audio(path=str(checkpoint_of(kind)))
    task, records, encoder = encoded(family)
    judge = family.load(CPU)
    prompts = [encoder.encode(record, task.dimensions[:2]) for record in records]

    def read(rows):
        return judge(**collate(rows, pad=encoder.pad, shared_prefix=False).inputs).logits

    with torch.inference_mode():
        cached = CachedGeneration(judge, prompts, encoder.pad, CPU)
        repeated = UncachedGeneration(prompts, read)
        for _ in range(3):
            torch.testing.assert_close(cached.logits, repeated.logits, atol=1e-4, rtol=0)
            tokens = repeated.logits.argmax(dim=-1).tolist()
            cached.feed(tokens)
            repeated.feed(tokens)


@pytest.mark.parametrize("kind", ["llama", "opt", "phi3", "gpt_neox"])
def test_adapters_find_the_layers_of_every_architecture(checkpoint_of, composed, kind):
    family = Qwen2Audio(path=str(checkpoint_of(kind)))
    config = composed("model=qwen2_audio", f"model.path={family.path}", "peft.r=2")
    model = attach(family.skeleton(), build_adapter(config, family))
    trained = {
        name.partition(".lora_")[0]
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }
    layers = {
        name
        for name, module in model.base_model.model.model.language_model.named_modules()
        if isinstance(module, torch.nn.Linear) and "lora_" not in name
    }
    assert len(trained) == len(layers) > 0
    assert all(".language_model." in name for name in trained)
    parts = count_parameters(model, family)
    assert parts["llm"][0] > 0
    assert parts["audio"][0] == parts["projector"][0] == 0

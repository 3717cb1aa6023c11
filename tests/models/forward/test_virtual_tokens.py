"""Prefix and prompt tuning, compared with plain transformers with virtual tokens inserted by hand."""

import copy

import pytest
import torch
from peft import PrefixTuningConfig, PromptTuningConfig
from plain_judge import plain_judge, plain_processor
from transformers import DynamicCache

from dramaeval.config.schema import PACKAGE
from dramaeval.data.audio import decode
from dramaeval.data.records import read_records
from dramaeval.models.adapters import attach, load_adapter, restrict
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task

TINY = PACKAGE / "models" / "tiny"
COUNT, LAYERS, HEADS, HIDDEN = 5, 4, 5, 160


@pytest.fixture
def prepared(composed, make_clips):
    def build(*overrides):
        family = Qwen2Audio(path=str(TINY))
        task = build_task(composed(*overrides))
        file = make_clips("clip", 3, seconds=(0.1, 2.3, 1.0))
        records = read_records(file, task.record_format()).records
        return (
            family,
            records,
            RecordEncoder(task, family.processor(), family, max_seconds=30, cache_clips=8),
        )

    return build


def wrapped(family, method):
    kind = {"prefix": PrefixTuningConfig, "prompt": PromptTuningConfig}[method]
    config = restrict(kind(num_virtual_tokens=COUNT), family, "llm")
    torch.manual_seed(0)
    model = attach(family.load(torch.device("cpu")), config)
    with torch.no_grad():
        for weight in model.prompt_encoder.parameters():
            weight.normal_(std=0.5)
    return model.eval()


def logits_by_hand(plain, record_encoder, record, dimension, method, virtual_tokens):
    """Logits of one question by transformers, after this function has inserted the virtual tokens."""
    processor = plain_processor()
    text = processor.apply_chat_template(
        record_encoder.task.messages(record, dimension), tokenize=False, add_generation_prompt=True
    )
    inputs = processor(
        text=[text + "<answer>"], audio=[decode(record.clip, 16_000)], sampling_rate=16_000,
        return_tensors="pt",
    )  # fmt: skip
    arguments = {}
    hook = plain.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: arguments.update(kwargs), with_kwargs=True
    )
    plain(**inputs)
    hook.remove()
    embeddings = arguments["inputs_embeds"]
    if method == "prompt":
        hidden = plain.model.language_model(
            inputs_embeds=torch.cat([virtual_tokens[None], embeddings], 1)
        )
    else:
        # The row of a virtual token has the key and the value of every layer, with all heads.
        states = virtual_tokens.view(COUNT, LAYERS, 2, HEADS, HIDDEN // HEADS).permute(
            1, 2, 3, 0, 4
        )
        cache = DynamicCache()
        for layer in range(LAYERS):
            cache.update(states[layer, 0][None], states[layer, 1][None], layer)
        hidden = plain.model.language_model(inputs_embeds=embeddings, cache=cache)
    return plain.lm_head(hidden.last_hidden_state[0, -1])


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["context_first", "rubric_first"])
@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_logits_equal_plain_transformers_in_both_layouts(prepared, tmp_path, method, layout):
    family, records, record_encoder = prepared(
        f"task.prompt_layout={layout}",
        "task.dimensions=[pitch_dynamics,emotion_intensity,trait_embodiment]",
    )
    model = wrapped(family, method)
    virtual_tokens = model.prompt_encoder["default"].embedding.weight.detach().clone()
    model.save_pretrained(tmp_path)
    model = load_adapter(family.load(torch.device("cpu")), tmp_path, trainable=False)
    plain = plain_judge()
    dimensions = record_encoder.task.dimensions
    encoded = [record_encoder.encode(record, dimensions) for record in records]
    with torch.no_grad():
        expected = torch.stack(
            [
                logits_by_hand(plain, record_encoder, record, dimension, method, virtual_tokens)
                for record in records
                for dimension in dimensions
            ]
        )
        for shared in (True, False):
            batch = collate(encoded, pad=record_encoder.pad, shared_prefix=shared)
            torch.testing.assert_close(model(**batch.inputs).logits, expected, atol=1e-4, rtol=0)
        without = family.load(torch.device("cpu"))(**batch.inputs).logits
    assert (without - expected).abs().max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prefix", "prompt"])
@pytest.mark.parametrize("shared", [True, False])
def test_only_virtual_tokens_have_gradients_and_audio_changes_logits(prepared, method, shared):
    family, records, record_encoder = prepared()
    model = wrapped(family, method)
    encoded = [
        record_encoder.encode(record, record_encoder.task.dimensions[:2]) for record in records
    ]
    batch = collate(encoded, pad=record_encoder.pad, shared_prefix=shared)
    logits = model(**batch.inputs).logits
    logits.log_softmax(-1)[:, 15].sum().backward()
    reached = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert reached == {"prompt_encoder.default.embedding.weight"}
    gradient = model.prompt_encoder["default"].embedding.weight.grad
    assert (gradient.abs().sum(dim=1) > 0).all()  # every virtual token
    other = copy.copy(batch.inputs)
    other["input_features"] = other["input_features"].flip(-2)
    with torch.no_grad():
        changed = model(**other).logits
    assert ((changed - logits).abs().amax(dim=-1) > 1e-3).all()

"""The last layer at the positions that are read: the same values and gradients as at all of them."""

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from dramaeval.models import branches
from dramaeval.models.batch import Asked, Sheet, collate
from dramaeval.models.causal_lm import reading_class
from dramaeval.models.last_layer import KINDS, ReadLayer, is_read
from dramaeval.models.questions import AnswerTokens, EncodedQuestion

VOCABULARY = 97
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12, "initializer_range": 0.2,
    "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0, "attention_dropout": 0.0,
}  # fmt: skip
#: Settings in which an architecture differs from Llama where it matters here.
TEXT_KINDS = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mistral": {"sliding_window": None},
    "granite": {"logits_scaling": 4.0, "residual_multiplier": 0.5, "attention_multiplier": 0.1},
}


@pytest.fixture
def build():
    def make(kind="qwen2", **settings):
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **SIZES, **{**TEXT_KINDS.get(kind, {}), **settings})
        branches.register()
        judge = reading_class(AutoModelForCausalLM._model_mapping[type(config)])(config).eval()
        judge.decoder.set_attn_implementation(branches.NAME)
        return judge

    return make


def tokens(count, seed):
    return torch.randint(
        1, VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed)
    ).tolist()


def batch_of(shared, *, ends=((9, 4, 15), (3, 7)), trained=True):
    """Sheets of questions of unlike number and length; in training seven answer positions each."""
    sheets = []
    for number, lengths in enumerate(ends):
        common = tokens(11 + 3 * number, seed=number)
        answer = AnswerTokens(scale=(0, 1), lead=(5, 6, 7), scores=(8, 9), tail=(10, 11, 12))
        target = torch.tensor([0.5, 0.5]).numpy() if trained else None
        prompts = [(*common, *tokens(one, seed=one)) for one in lengths]
        asked = (Asked(EncodedQuestion(prompt=one, answer=answer), target) for one in prompts)
        sheets.append(Sheet(clips=(), asked=tuple(asked)))
    return collate(sheets, pad=0, shared_prefix=shared)


def result(model, batch, plain, **inputs):
    """Logits, and the gradient of every trained weight."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.plain = frozenset(plain)
    assert base.reads_last == (not plain)
    model.zero_grad()
    logits = model(**batch.inputs, **inputs).logits
    # Weighted, so that no symmetry of the loss hides a mistaken place.
    weights = torch.linspace(0.5, 2, logits.numel()).view_as(logits)
    (logits.log_softmax(-1) * weights).mean().backward()
    grads = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    return logits.detach(), grads


def assert_same(model, batch, **inputs):
    expected, reference = result(model, batch, ("last_layer",), **inputs)
    found, gradients = result(model, batch, (), **inputs)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert gradients.keys() == reference.keys()
    for name, gradient in gradients.items():
        apart = (gradient - reference[name]).norm()
        assert apart <= 1e-3 * reference[name].norm() + 1e-6, name


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_values_and_gradients_of_every_architecture(build, kind, shared):
    assert_same(build(kind), batch_of(shared))


def test_the_tested_architectures_are_those_that_are_named():
    """Qwen2_5Omni is in tests/models/test_audio_families.py."""
    named = {kind.lower() for kind in KINDS} - {"qwen2_5omni"}
    assert named == set(TEXT_KINDS)


@pytest.mark.parametrize("shared", [True, False])
def test_a_single_position_a_row(build, shared):
    """As in scoring; grouped queries go another way through transformers' attention then."""
    assert_same(build(), batch_of(shared, ends=((9,), (3,)), trained=False))
    assert_same(build(), batch_of(shared, trained=False))


@pytest.mark.parametrize("reentrant", [True, False])
def test_activations_that_are_computed_again(build, reentrant):
    model = build().train()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    assert_same(model, batch_of(True))


@pytest.mark.parametrize("shared", [True, False])
def test_an_adapter(build, shared):
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(target_modules=targets, use_dora=True, init_lora_weights=False)
    assert_same(get_peft_model(build(), config), batch_of(shared))


@pytest.mark.parametrize("shared", [True, False])
def test_virtual_keys_in_front(build, shared):
    config = PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    model = get_peft_model(build(), config)
    torch.nn.init.normal_(model.prompt_encoder["default"].embedding.weight)
    assert_same(model, batch_of(shared))


def test_rows_that_are_padded_on_the_left(build):
    """Their mask is one of every pair of positions by the time that it gets to the layer."""
    batch = batch_of(False)
    width = batch.inputs["input_ids"].shape[1]
    lengths = [
        int(batch.inputs["answer_index"][batch.inputs["answer_index"][:, 0] == row, 1].max()) + 1
        for row in range(len(batch.inputs["input_ids"]))
    ]
    shift = torch.tensor([width - length for length in lengths])
    rows = zip(batch.inputs["input_ids"], shift.tolist(), strict=True)
    moved = {
        "input_ids": torch.stack([row.roll(by) for row, by in rows]),
        "position_ids": (torch.arange(width)[None] - shift[:, None]).clamp(min=0),
        "attention_mask": (torch.arange(width)[None] >= shift[:, None]).long(),
    }
    index = batch.inputs["answer_index"].clone()
    index[:, 1] += shift[index[:, 0]]
    judge = build()
    expected, _ = result(judge, batch, ())
    batch.inputs.update(moved, answer_index=index)
    assert_same(judge, batch)
    torch.testing.assert_close(result(judge, batch, ())[0], expected, atol=1e-4, rtol=0)


def test_an_order_of_answers_that_is_not_the_rows(build):
    judge, batch = build(), batch_of(True)
    expected, _ = result(judge, batch, ())
    order = torch.randperm(len(expected), generator=torch.Generator().manual_seed(1))
    batch.inputs["answer_index"] = batch.inputs["answer_index"][order]
    assert_same(judge, batch)
    torch.testing.assert_close(result(judge, batch, ())[0], expected[order], atol=1e-5, rtol=0)


def test_half_precision(build):
    judge, batch = build().bfloat16(), batch_of(True)
    expected, _ = result(judge, batch, ("last_layer",))
    found, _ = result(judge, batch, ())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, atol=0.1 * float(expected.float().std()), rtol=0)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("mistral", {"sliding_window": 16}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}),
        ("phi3", {}),
    ],
)
def test_others_keep_their_last_layer(build, kind, settings):
    judge = build(kind, **settings)
    assert not is_read(judge.decoder)
    assert not isinstance(judge.decoder.layers[-1], ReadLayer)


def test_another_attention_takes_the_whole_layer(build):
    judge, batch = build(), batch_of(False)
    expected, _ = result(judge, batch, ())
    judge.decoder.set_attn_implementation("eager")
    assert not judge.reads_last
    with torch.no_grad():
        found = judge(**batch.inputs).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_the_classes_keep_their_names(build):
    """By which accelerate keeps a layer on one device, and DeepSpeed finds it."""
    judge = build()
    kinds = {type(layer).__name__ for layer in judge.decoder.layers}
    assert kinds == {"Qwen2DecoderLayer"}
    assert set(judge._no_split_modules) == kinds

"""The last layer at the positions that are read: the same values and gradients as at all of them."""

import copy
import pickle

import pytest
import torch
from peft import AdaLoraConfig, IA3Config, LoraConfig, PrefixTuningConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from dramaeval.config.schema import PACKAGE
from dramaeval.models.families.causal_lm import reading_class
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.forward import shared_prefix as branches
from dramaeval.models.forward.judge_model import HEAD, REGRESSION
from dramaeval.models.forward.last_layer import KINDS, ReadAttention, is_prepared, takes_places
from dramaeval.models.inputs.collation import EncodedRecord, LabelledQuestion, collate
from dramaeval.models.inputs.question_encoder import AnswerTokens, EncodedQuestion

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


#: Lengths of questions in record_encoder, whose branches are wider than a row is read at places, or not.
FEW, MANY = ((9, 4, 15), (3, 7)), ((2, 3, 1, 4), (1, 2))
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LAYOUTS = pytest.mark.parametrize(
    ("shared", "ends"), [(True, FEW), (True, MANY), (False, FEW)], ids=["few", "many", "apart"]
)


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


def batch_of(shared, ends=FEW, *, trained=True):
    """Sheets of questions of unlike number and length; in training seven answer positions each."""
    record_encoder = []
    for number, lengths in enumerate(ends):
        common = tokens(11 + 3 * number, seed=number)
        answer = AnswerTokens(scale=(0, 1), lead=(5, 6, 7), scores=(8, 9), tail=(10, 11, 12))
        target = torch.tensor([0.5, 0.5]).numpy() if trained else None
        prompts = [(*common, *tokens(one, seed=one)) for one in lengths]
        asked = (
            LabelledQuestion(EncodedQuestion(prompt=one, answer=answer), target) for one in prompts
        )
        record_encoder.append(EncodedRecord(clips=(), questions=tuple(asked)))
    return collate(record_encoder, pad=0, shared_prefix=shared)


def result(model, batch, plain, **inputs):
    """Logits, and the gradient of every trained weight."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.plain = frozenset(plain)
    assert base.reads_last == (not plain)
    model.zero_grad()
    logits = model(**batch.inputs, **inputs).logits
    # Weighted, so that no symmetry of the loss hides a mistaken place.
    weights = torch.linspace(0.5, 2, logits.numel()).view_as(logits)
    (logits.float().tanh() * weights).mean().backward()
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


@LAYOUTS
@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_values_and_gradients_of_every_architecture(build, kind, shared, ends):
    assert_same(build(kind), batch_of(shared, ends))


@LAYOUTS
def test_many_places_look_at_their_own_branch(build, shared, ends):
    """And are not compared with all others in vain."""
    judge, batch, seen = build(), batch_of(shared, ends), {}
    attention = judge.decoder.layers[-1].self_attn
    read, looked = batch.inputs["answer_index"], []
    attention.o_proj.register_forward_pre_hook(lambda _, given: looked.append(given[0].shape[:2]))
    judge(**batch.inputs)
    most = [int((read[:, 0] == row).sum()) for row in range(len(batch.inputs["input_ids"]))]
    seen["rows"] = (len(most), max(most))
    seen["branches"] = (len(most) * batch.inputs.get("branch_count", 1), 7)
    assert looked == [seen["branches" if ends == MANY else "rows"]]


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


@LAYOUTS
@pytest.mark.parametrize(
    "adapter",
    [
        LoraConfig(target_modules=TARGETS, use_dora=True, init_lora_weights=False),
        AdaLoraConfig(target_modules=TARGETS, total_step=10, init_lora_weights=False),
        IA3Config(
            target_modules=TARGETS, feedforward_modules=["down_proj"], init_ia3_weights=False
        ),
    ],
    ids=["dora", "adalora", "ia3"],
)
def test_adapters(build, adapter, shared, ends):
    assert_same(get_peft_model(build(), adapter), batch_of(shared, ends))


@LAYOUTS
@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_virtual_keys_in_front(build, kind, shared, ends):
    config = PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    model = get_peft_model(build(kind), config)
    torch.nn.init.normal_(model.prompt_encoder["default"].embedding.weight)
    assert_same(model, batch_of(shared, ends))


@LAYOUTS
def test_virtual_tokens_in_front(build, shared, ends):
    batch = batch_of(shared, ends)
    first = torch.randn(len(batch.inputs["input_ids"]), 3, 48)
    assert_same(build(), batch, virtual_embeddings=first)


@LAYOUTS
def test_a_regression_head(build, shared, ends):
    judge = build(**{HEAD: REGRESSION})
    batch = batch_of(shared, ends)
    expected, reference = result(judge, batch, ("last_layer",))
    found, gradients = result(judge, batch, ())
    assert found.shape == (len(batch.labels), 1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert gradients.keys() == reference.keys()


@pytest.mark.parametrize("unequal", [True, False])
def test_rows_that_are_padded_on_the_left(build, unequal):
    """Their mask is one of every pair of positions by the time that it gets to the layer."""
    batch = batch_of(False)
    if unequal:
        batch.inputs["answer_index"] = batch.inputs["answer_index"][[0, 7, 8, 13, *range(14, 35)]]
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


@LAYOUTS
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision(build, autocast, shared, ends):
    """No further from single precision than the whole layer is."""
    judge, batch = build(), batch_of(shared, ends)
    exact, exact_gradients = result(judge, batch, ("last_layer",))
    if not autocast:
        judge = judge.bfloat16()
    apart = []
    for plain in (("last_layer",), ()):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found, gradients = result(judge, batch, plain)
        assert found.dtype == torch.bfloat16
        errors = [float((found.float() - exact).norm() / exact.norm())]
        for name, gradient in exact_gradients.items():
            if not name.endswith("k_proj.bias"):  # nothing but rounding
                error = gradients[name].float() - gradient
                errors.append(float(error.norm() / gradient.norm()))
        apart.append(torch.tensor(errors))
    whole, read = apart
    assert 0 < read[0] < 1.2 * whole[0] < 0.1
    assert read.mean() < 1.2 * whole.mean() < 0.2


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
    assert not is_prepared(judge.decoder)
    assert not takes_places(judge.decoder)
    assert not judge.reads_last


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


def test_a_judge_is_copied_and_pickled(build):
    judge, batch = build(), batch_of(True)
    expected, _ = result(judge, batch, ())
    layer = judge.decoder.layers[-1]
    for made in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(made) is type(layer)
        assert type(made.self_attn) is type(layer.self_attn)
        judge.decoder.layers[-1] = made
        found, _ = result(judge, batch, ())
        torch.testing.assert_close(found, expected, atol=0, rtol=0)


@pytest.mark.parametrize("how", ["wrong", "refused"])
def test_a_class_that_does_more_than_is_known_is_found_out(monkeypatch, caplog, how):
    """As a later version of transformers may have it."""
    look = ReadAttention._look

    def changed(self, *args, **kwargs):
        if how == "refused":
            kwargs["sinks"] = torch.zeros(1)
        made = look(self, *args, **kwargs)
        return made * 1.1

    monkeypatch.setattr(ReadAttention, "_look", changed)
    family = Qwen2Audio(path=str(PACKAGE / "models" / "tiny"))
    judge = family.load(torch.device("cpu"))
    assert not judge.reads_last
    assert "computed whole" in caplog.text
    monkeypatch.undo()
    assert family.load(torch.device("cpu")).reads_last

"""Text-only causal language models as judges, against the plain forward pass of the same weights."""

import itertools
import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from dramaeval.compat.bitsandbytes import keep_packing
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.data.records import RecordFormat, read_records
from dramaeval.evaluation.scoring import score
from dramaeval.models.errors import ModelError
from dramaeval.models.families.causal_lm import CausalLM
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.pipeline import run_stages
from dramaeval.stages.planner import make_plan
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer, save_judge

TINY = PACKAGE / "models" / "tiny"
CPU = torch.device("cpu")
WORDS = AutoTokenizer.from_pretrained(TINY)
SIZES = {
    "vocab_size": len(WORDS), "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2,
    "bos_token_id": None, "eos_token_id": WORDS.eos_token_id,
    "pad_token_id": WORDS.pad_token_id,
}  # fmt: skip
KINDS = {
    "qwen2": {},
    "llama": {},
    # Divides its logits after the head.
    "granite": {"logits_scaling": 4.0},
    "mistral": {"sliding_window": 16},
    "gemma3_text": {"sliding_window": 16, "head_dim": 12,
                    "layer_types": ["sliding_attention", "full_attention"]},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 48, "init_std": 0.2},
    "falcon_h1": {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8},
}  # fmt: skip
SHARING = ("qwen2", "llama", "granite", "mistral", "gemma3_text", "opt")


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """A folder with a small random model of a kind and the tiny judge's tokenizer."""
    folders = {}

    def build(kind):
        if kind not in folders:
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(
                AutoConfig.for_model(kind, **SIZES, **KINDS[kind])
            )
            folders[kind] = tmp_path_factory.mktemp(kind)
            model.save_pretrained(folders[kind])
            AutoTokenizer.from_pretrained(TINY).save_pretrained(folders[kind])
        return folders[kind]

    return build


@pytest.fixture
def without_clips(make_clips, tmp_path):
    """Records without clips, which a judge of text does not need."""

    def build(name, count, seed=0):
        file = make_clips(name, count, seconds=[0.1], seed=seed)
        for wav in tmp_path.glob(f"{name}*.wav"):
            wav.unlink()
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        unnamed = {key: value for key, value in json.loads(lines[0]).items() if key != "wav_path"}
        file.write_text("".join([json.dumps(unnamed) + "\n", *lines[1:]]), encoding="utf-8")
        return file

    return build


def read_back(file, task):
    fmt = task.record_format()
    return read_records(
        file,
        RecordFormat(
            text_fields=fmt.text_fields, annotation_fields=fmt.annotation_fields, reads_audio=False
        ),
    ).records


def plain_logits(plain, tokenizer, task, record, dimension):
    """The reference: the question as a user would write it, in plain transformers."""
    system, user = task.messages(record, dimension)
    words = "\n".join(part["text"] for part in user["content"] if part["type"] == "text")
    turns = [system, {"role": "user", "content": words}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text + "<answer>", add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        return plain(input_ids=ids).logits[0, -1]


@pytest.mark.parametrize("kind", SHARING)
def test_logits_equal_the_plain_forward(folder_of, without_clips, composed, kind):
    folder = folder_of(kind)
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    family = CausalLM(path=str(folder))
    judge, tokenizer = family.load(CPU), family.processor()
    task = build_task(composed())
    records = read_back(without_clips("clip", 3), task)
    record_encoder = RecordEncoder(task, tokenizer, family, max_seconds=30, cache_clips=1)
    dimensions = task.dimensions[::4]
    # The head at every position.
    plain_head = CausalLM(path=str(folder), plain=["head"]).load(CPU)
    layouts = []
    for shared in (True, False):
        batch = collate(
            [record_encoder.encode(record, dimensions) for record in records],
            pad=record_encoder.pad,
            shared_prefix=shared,
        )
        assert "input_features" not in batch.inputs
        with torch.no_grad():
            logits = judge(**batch.inputs).logits
            of_all = plain_head(**batch.inputs).logits
        torch.testing.assert_close(of_all, logits, atol=1e-5, rtol=0)
        layouts.append(logits)
    for row, (record, dimension) in enumerate(itertools.product(records, dimensions)):
        expected = plain_logits(plain, tokenizer, task, record, dimension)
        for logits in layouts:
            torch.testing.assert_close(logits[row], expected, atol=1e-4, rtol=0)
        # More than 80 tokens: a window of 16 changes the logits.
        (question,) = record_encoder.encode(record, [dimension]).questions
        assert len(question.question.prompt) > 80


def test_scores_do_not_depend_on_the_layout(folder_of, without_clips, composed):
    family = CausalLM(path=str(folder_of("llama")))
    task = build_task(composed())
    records = read_back(without_clips("clip", 3), task)
    record_encoder = RecordEncoder(task, family.processor(), family, max_seconds=30, cache_clips=1)
    judge = family.load(CPU)
    family.check_shared_prefix(judge)
    predictions = [
        score(judge, records, record_encoder, clips_a_batch=size, shared_prefix=shared)
        for size, shared in ((1, False), (3, True))
    ]
    assert len(predictions[0]) == 30
    for separate, shared in zip(*predictions, strict=True):
        assert separate.expected == pytest.approx(shared.expected, abs=1e-4)
        assert separate.distribution != (0.2,) * 5


@pytest.mark.parametrize("kind", ["falcon_h1"])
def test_hybrids_do_not_share_a_prefix(folder_of, without_clips, composed, tmp_path, kind):
    overrides = (
        "model=causal_lm", f"model.path={folder_of(kind)}", "stages=[evaluate]",
        f"task.data.test={without_clips('clip', 2)}",
    )  # fmt: skip
    with pytest.raises(ConfigError, match=rf"{kind}.*batch.shared_prefix=false"):
        RunContext(composed(*overrides), RunFolder(tmp_path / "run"))
    family = CausalLM(path=str(folder_of(kind)))
    with pytest.raises((ModelError, ValueError), match="shared_prefix=false"):
        family.check_shared_prefix(family.load(CPU))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "peft"), [("llama", "lora"), ("qwen2", "none"), ("gemma3_text", "lora")]
)
def test_a_step_of_training_and_scores(
    folder_of, without_clips, composed, tmp_path, caplog, kind, peft
):
    caplog.set_level("INFO", "dramaeval")
    folder = folder_of(kind)
    config = composed(
        "model=causal_lm", f"model.path={folder}", f"peft={peft}", "device=cpu",
        f"batch.shared_prefix={'false' if kind == 'gemma3_text' else 'true'}",
        "task.dimensions=[pitch_dynamics,trait_embodiment]", "trainer.args.max_steps=1",
        "trainer.args.logging_steps=1", "trainer.args.warmup_steps=0", "trainer.args.save_strategy=no",
        "trainer.args.eval_strategy=no", "trainer.args.load_best_model_at_end=false", "evaluation.zero_shot=false",
        "trainer.args.per_device_train_batch_size=2", "evaluation.draws=20", "evaluation.html=false",
        f"task.data.train={without_clips('train', 4)}", f"task.data.val={without_clips('val', 4, seed=1)}",
    )  # fmt: skip
    run = RunContext(config, RunFolder(tmp_path / "run"))
    assert "takes no audio" in caplog.text
    before = {name: weight.clone() for name, weight in run.model.named_parameters()}
    run.folder.path.mkdir()
    run.folder.open(config)
    run_stages(run)
    lines = [json.loads(line) for line in run.folder.predictions("final").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["scored"] * 8
    tokenizer = AutoTokenizer.from_pretrained(run.folder.model)
    plain = AutoModelForCausalLM.from_pretrained(folder if peft == "lora" else run.folder.model)
    weights = dict(plain.named_parameters())
    if peft == "lora":
        plain = PeftModel.from_pretrained(plain, run.folder.model)
        assert all(torch.equal(before[name], weight) for name, weight in weights.items())
        adapted = [name for name, _ in plain.named_parameters() if "lora_A" in name]
        assert len(adapted) == 7 * 2
        assert not any("lm_head" in name for name in adapted)
    else:
        assert not any(torch.equal(before[name], weight) for name, weight in weights.items())
    # Plain transformers and PEFT, with the saved weights, give the scores that the run saved.
    record, dimension = run.splits["val"][0], run.task.dimensions[0]
    logits = plain_logits(plain.eval(), tokenizer, run.task, record, dimension)
    share = logits[tokenizer.convert_tokens_to_ids(list("12345"))].softmax(-1)
    torch.testing.assert_close(share, torch.tensor(lines[0]["distribution"]), atol=1e-4, rtol=0)


METHODS = ("dora", "rslora", "qlora", "adalora", "ia3", "prefix", "prompt")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_equals_plain_peft(
    folder_of, without_clips, composed, tmp_path, method
):
    folder = folder_of("llama")
    config = composed(
        "model=causal_lm", f"model.path={folder}", f"peft={method}", "device=cpu", "logger=none",
        "task.dimensions=[pitch_dynamics]", "trainer.args.max_steps=6", "trainer.args.logging_steps=1",
        "trainer.args.warmup_steps=0", "trainer.args.learning_rate=1e-2", "trainer.args.save_strategy=no",
        "trainer.args.eval_strategy=no", "trainer.args.load_best_model_at_end=false",
        f"task.data.train={without_clips('train', 4)}", f"task.data.val={without_clips('val', 2, seed=1)}",
    )  # fmt: skip
    check(config)
    run = RunContext(config, RunFolder(tmp_path / "run"))
    trainer = make_trainer(run)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert max(losses[-2:]) < losses[0] - 1e-3, losses
    (tmp_path / "adapter").mkdir()
    save_judge(run, trainer, tmp_path / "adapter")
    (first, *_) = score(trainer.model, run.splits["val"], run.record_encoder)
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(
            folder, quantization_config=quantised() if method == "qlora" else None
        ),
        tmp_path / "adapter",
    ).eval()
    keep_packing(plain)  # bitsandbytes' CPU kernel refuses layers of this width
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "adapter")
    logits = plain_logits(plain, tokenizer, run.task, run.splits["val"][0], run.task.dimensions[0])
    share = logits[tokenizer.convert_tokens_to_ids(list("12345"))].softmax(-1)
    torch.testing.assert_close(share, torch.tensor(first.distribution), atol=1e-4, rtol=0)


def quantised():
    """The quantisation of peft=qlora; transformers does not quantise the vocabulary head."""
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )  # fmt: skip


def test_adapt_names_the_one_part(folder_of, composed):
    from dramaeval.models.adapters import adapted_parts

    family = CausalLM(path=str(folder_of("llama")))
    assert adapted_parts("all", family) == ["llm"]
    with pytest.raises(ValueError, match="audio is not a part of this model"):
        adapted_parts("audio", family)


LLAMA3 = (
    "{{ '<|begin|>' }}{% for m in messages %}<|head|>{{ m.role }}\n\n{{ m.content }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|head|>assistant\n\n{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}[{{ m.role }}] {{ m.content }} \n<|im_end|>\n{% endfor %}"
)
MESSAGES = [
    {"role": "system", "content": "Judge."},
    {"role": "user", "content": [{"type": "audio", "audio_url": "x"}, {"type": "text", "text": "How?"}]},
]  # fmt: skip


@pytest.mark.parametrize(
    ("template", "special", "text", "end"),
    [
        (LLAMA3, "<|eot|>", "<|begin|><|head|>system\n\nJudge.<|eot|><|head|>user\n\nHow?<|eot|>"
                            "<|head|>assistant\n\n", "<|eot|>"),
        (NO_SYSTEM, None, "[user] Judge.\n\nHow? \n<|im_end|>\n", " \n<|im_end|>"),
        (None, None, "Judge.\n\nHow?\n", "<|im_end|>"),
    ],
)  # fmt: skip
def test_prompt_and_end_of_turn_follow_the_template(folder_of, template, special, text, end):
    family = CausalLM(path=str(folder_of("qwen2")))
    tokenizer = family.processor()
    tokenizer.chat_template = template
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": [special]})
    assert family.render(tokenizer, MESSAGES) == text
    assert family.end_of_turn(tokenizer) == end


def test_a_part_without_a_type_is_a_text(folder_of):
    """Prompts of processed records may leave the type of a text out."""
    family = CausalLM(path=str(folder_of("qwen2")))
    tokenizer = family.processor()
    untyped = [MESSAGES[0], {"role": "user", "content": [{"text": "How?"}]}]
    assert family.render(tokenizer, untyped) == family.render(tokenizer, MESSAGES)


def test_tokenizer_without_end_of_text_is_refused(folder_of):
    family = CausalLM(path=str(folder_of("qwen2")))
    tokenizer = family.processor()
    tokenizer.chat_template = None
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="set eos_token"):
        family.end_of_turn(tokenizer)


def test_models_that_take_more_than_text_are_refused():
    with pytest.raises(ModelError, match="qwen2_audio"):
        CausalLM(path=str(TINY)).model_class()
    per_layer = CausalLM(path="x", architecture={"model_type": "gemma3n_text"})
    with pytest.raises(ModelError, match="embeds every token again for each of its layers"):
        per_layer.model_class()
    with pytest.raises(ModelError, match="no model_type"):
        CausalLM(path="x", architecture={"hidden_size": 8}).model_class()


def test_a_plan_needs_the_architecture_alone(composed, without_clips, tmp_path):
    config = composed(
        "model=causal_lm", "model.path=some/model", "plan=true",
        f"task.data.train={without_clips('train', 3)}",
        "+model.architecture={model_type: llama, vocab_size: 128256, hidden_size: 4096,"
        " num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 8,"
        " intermediate_size: 14336}",
    )  # fmt: skip
    plan = make_plan(RunContext(config, RunFolder(tmp_path / "run")))
    assert plan.parameters - plan.trainable == 8_030_261_248  # Llama 3.1 8B
    # r=16 over q, k, v, o, gate, up and down: 16 × 32 × (8192 + 2 × 5120 + 8192 + 3 × 18432)
    assert plan.trainable == 16 * 32 * (8192 + 2 * 5120 + 8192 + 3 * 18432)

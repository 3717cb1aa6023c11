"""SFTTrainer: it takes the arguments of the published trainer and trains on the items of the dataset."""

import json

import pytest
import torch
import trl
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from dramaeval import AudioDataset, Judge, SFTTrainer, create_peft_config
from dramaeval.api import grpo_trainer as grpo
from dramaeval.api import sft_trainer as trainer
from dramaeval.config.composition import compose
from dramaeval.config.schema import PACKAGE
from dramaeval.data.problems import BadRecordsError
from dramaeval.models.errors import ModelError
from dramaeval.stages.builders import build_family, build_task

TINY = str(PACKAGE / "models" / "tiny")
PEFT = {"enabled": True, "method": "lora", "lora": {"r": 4, "target_modules": ["q_proj", "v_proj"]}}


def settings(folder, **more):
    given = {
        "output_dir": str(folder), "use_cpu": True, "bf16": False, "max_steps": 2, "logging_steps": 1,
        "per_device_train_batch_size": 2, "save_strategy": "no", "learning_rate": 1e-2, "disable_tqdm": True,
    }  # fmt: skip
    return trl.SFTConfig(**{**given, **more})


@pytest.mark.parametrize("bf16", [False, True])
def test_the_arguments_decide_the_precision_and_not_the_environment(bf16, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")  # set after `import dramaeval`
    given = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": bf16}
    for prepare, args in (
        (trainer.prepare_arguments, trl.SFTConfig(**given)),
        (grpo.prepare_arguments, trl.GRPOConfig(**given)),
    ):
        assert bf16 or args.mixed_precision == "fp16"
        assert prepare(args).mixed_precision == ("bf16" if bf16 else "no")


@pytest.mark.slow
def test_a_trained_and_saved_model_is_loaded_as_a_judge(make_clips, tmp_path):
    task = build_task(
        compose("task.system=Listen.", "task.dimensions=[pitch_dynamics]", "task.labels=sample")
    )
    data = AudioDataset(make_clips("train", 6), task=task)
    trainer = SFTTrainer(TINY, settings(tmp_path / "out"), data, create_peft_config(PEFT))
    names = {n for n, w in trainer.model.named_parameters() if w.requires_grad}
    assert {n.split(".lora_")[0].rpartition(".")[2] for n in names} == {"q_proj", "v_proj"}
    # PEFT compares the ends of module names, so modules of the audio tower match too.
    assert any("audio_tower" in name for name in names)
    assert any("language_model" in name for name in names)

    # The labels of a batch are the solutions of the items.
    rows = list(trainer.order)[:2]
    batch = trainer.data_collator([{"record": at} for at in rows])["batch"]
    tokens = trainer.processing_class.tokenizer
    for number, at in enumerate(rows):
        answer = batch.labels[batch.question_of == number].tolist()
        assert tokens.decode(answer).removesuffix("<|im_end|>") == data[at]["solution"]
        assert batch.question_keys[number][0] == data.records[at].id

    trainer.train()
    losses = [one["loss"] for one in trainer.state.log_history if "loss" in one]
    assert len(losses) == 2
    assert list((tmp_path / "out" / "tensorboard").iterdir())
    trainer.save_model(str(tmp_path / "saved"))
    record = data.records[0]
    texts = {name: record.fields[name] for name in data.task.text_fields}
    judge = Judge.load(tmp_path / "saved", device="cpu")
    assert judge.task("role").system == "Listen."
    saved = judge.score(record.clip, **texts)
    assert list(saved) == ["pitch_dynamics"]
    plain = Judge.load(TINY, device="cpu").score(record.clip, **texts)
    assert saved["pitch_dynamics"].expected != pytest.approx(
        plain["pitch_dynamics"].expected, abs=1e-5
    )


@pytest.mark.slow
def test_a_loaded_model_is_trained_on_a_perturbed_processed_file(make_clips, tmp_path):
    from transformers import Qwen2AudioForConditionalGeneration

    make_clips("train", 2)
    file = tmp_path / "processed.jsonl"
    file.write_text("".join(
        json.dumps({
            "prompt": [{"role": "user", "content": [
                {"type": "audio", "audio_url": f"train{at}.wav"}, {"type": "text", "text": "How warm?"},
            ]}],
            "solution": f"<answer>{at + 3}</answer>",
        }) + "\n" for at in range(2)
    ))  # fmt: skip
    model = Qwen2AudioForConditionalGeneration.from_pretrained(TINY)
    weight = model.get_input_embeddings().weight
    before = weight.detach().clone()
    args = settings(tmp_path / "out", max_steps=1)
    before_args = args.max_length
    data = AudioDataset(file, is_perturb=True)
    trainer = SFTTrainer(model, args, data, enable_tensorboard=False)
    assert args.max_length == before_args  # the arguments are copied
    frames = trainer.data_collator([{"record": 0}])["batch"].inputs["feature_frames"]
    again = trainer.data_collator([{"record": 0, "epoch": 1}])["batch"].inputs["feature_frames"]
    assert frames.tolist() != again.tolist()
    trainer.train()
    assert trainer.model.get_input_embeddings().weight is weight
    assert not torch.equal(before, weight)
    assert not (tmp_path / "out" / "tensorboard").exists()


def test_a_text_model_is_refused_with_every_kind_of_dataset(make_clips, tmp_path):
    words = AutoTokenizer.from_pretrained(TINY)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "num_key_value_heads": 2, "vocab_size": len(words)}  # fmt: skip
    AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **sizes)).save_pretrained(
        tmp_path / "text"
    )
    words.save_pretrained(tmp_path / "text")
    config = compose("model=causal_lm", f"model.path={tmp_path / 'text'}")
    family = build_family(config)
    model = family.load(torch.device("cpu"), None)
    judge = Judge(model, family, family.processor(None), config)
    item = {"prompt": [{"role": "user", "content": "?"}], "solution": "x", "audio": [0.0] * 1600}
    for data in (AudioDataset(make_clips("train", 2)), [item]):
        with pytest.raises(ModelError, match="takes no audio: train it"):
            SFTTrainer(judge, settings(tmp_path / "out"), data)


@pytest.mark.slow
def test_wrong_datasets_and_models_are_refused(make_clips, tmp_path):
    file = make_clips("train", 2)
    args = settings(tmp_path / "out")
    with pytest.raises(ValueError, match="train_dataset is missing: AudioDataset"):
        SFTTrainer(TINY, args)
    with pytest.raises(ValueError, match="this model takes 16000 Hz"):
        SFTTrainer(TINY, args, AudioDataset(file, 8000))
    file_with_control_token = tmp_path / "hostile.jsonl"
    file_with_control_token.write_text(file.read_text().replace("That makes 1.", "Go.<|AUDIO|>"))
    with pytest.raises(BadRecordsError, match="control token") as raised:
        SFTTrainer(TINY, args, AudioDataset(file_with_control_token, audio_root=tmp_path))
    assert [(p.line, p.key) for p in raised.value.problems] == [(2, "transcript")]
    with pytest.raises(ModelError, match="Linear cannot be trained as a judge"):
        SFTTrainer(torch.nn.Linear(1, 1), args, AudioDataset(file))

"""What every audio family declares: the end of a turn, control tokens, long clips, frozen parts, complete checkpoints."""

import json
from dataclasses import replace

import pytest
import torch
from all_kinds import LONG_KINDS
from audio_kinds import (
    TINY,
    Mistrals,
    Omni,
    Omni3,
)
from gemma_kinds import Gemma4Unified
from safetensors.torch import save_file
from transformers import AutoTokenizer

from dramaeval.config.problems import ConfigError
from dramaeval.models.chat_templates import end_of_turn
from dramaeval.models.families.voxtral import Voxtral
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.models.inputs.text_check import control_tokens
from dramaeval.stages.builders import build_task
from dramaeval.stages.compatibility import check_family

CPU = torch.device("cpu")


def test_the_end_of_turn_is_that_of_the_chat_template(kind, folder):
    """Training ends an answer with it, and generation stops at it."""
    family = kind.family(path=str(folder))
    processor = family.processor()
    tokenizer = processor.tokenizer
    template = getattr(processor, "chat_template", None) or getattr(
        tokenizer, "chat_template", None
    )
    written = template and end_of_turn(tokenizer, chat_template=template)
    assert family.end_of_turn(processor) == (written or tokenizer.eos_token)


def test_the_refusal_of_a_long_clip_names_the_families_that_take_it(composed):
    config = composed(
        "task.data.on_long=segments",
        "task.data.max_seconds=80",
        "batch.shared_prefix=false",
        "peft=none",
    )
    with pytest.raises(ConfigError) as raised:
        check_family(config, Voxtral(path="x"))
    (problem,) = raised.value.problems
    # One name stands for both Granite Speech models.
    names = {kind.name.removesuffix("_plus") for kind in LONG_KINDS}
    assert {name for name in names if name not in problem} == set()


def test_audio_tower_can_be_frozen(kind, folder):
    """Or the projector of a model without one."""
    part, setting = "audio", {"freeze_audio": True}
    if kind is Gemma4Unified:
        part, setting = "projector", {"train_projector": False}
    family = kind.family(path=str(folder), **setting)
    judge = family.load(CPU)
    family.freeze_fixed(judge)
    trained = {name for name, weight in judge.named_parameters() if weight.requires_grad}
    assert not any(kind.family.parts[part] in name for name in trained)
    assert any(kind.family.parts["llm"] in name for name in trained)


@pytest.mark.parametrize("kind", [Omni, Omni3], ids=lambda kind: kind.name)
def test_thinker_is_loaded_from_a_complete_checkpoint(kind, tmp_path):
    kind.write(tmp_path / "thinker", AutoTokenizer.from_pretrained(TINY))
    plain = kind.model_class.from_pretrained(tmp_path / "thinker")
    weights = plain.state_dict()
    # As published: the language model under thinker.model, the tower under thinker.audio_tower.
    prefixes = (
        ("model.language_model.", "model."),
        ("model.audio_", "audio_"),
        ("model.visual", "visual"),
    )
    named = {"talker.codec_head.weight": torch.ones(2, 2)}
    for name, weight in weights.items():
        old, new = next((pair for pair in prefixes if name.startswith(pair[0])), ("", ""))
        name = "thinker." + new + name.removeprefix(old)
        if ".experts." in name:  # published by expert
            path, _, which = name.rpartition(".")
            for number, expert in enumerate(weight):
                halves = expert.chunk(2) if which == "gate_up_proj" else (expert,)
                parts = ("gate_proj", "up_proj") if which == "gate_up_proj" else (which,)
                for part, half in zip(parts, halves, strict=True):
                    named[f"{path}.{number}.{part}.weight"] = half.contiguous()
        else:
            named[name] = weight
    published = ("model.embed_tokens.weight", "audio_tower.layers.0.fc1.weight", "lm_head.weight")
    assert {f"thinker.{name}" for name in published} <= set(named)
    whole = tmp_path / "whole"
    whole.mkdir()
    save_file(named, whole / "model.safetensors", {"format": "pt"})
    config = json.loads((tmp_path / "thinker" / "config.json").read_text())
    model_type = config["model_type"].removesuffix("_thinker")
    (whole / "config.json").write_text(
        json.dumps({"model_type": model_type, "thinker_config": config, "enable_talker": False})
    )
    judge = kind.family(path=str(whole)).load(CPU)
    for name, weight in judge.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def test_a_part_without_a_type_is_a_text_for_voxtral(tmp_path):
    pytest.importorskip("mistral_common")
    Mistrals.write(tmp_path, AutoTokenizer.from_pretrained(TINY))
    family = Voxtral(path=str(tmp_path))
    processor = family.processor()
    clip, text = {"type": "audio", "audio_url": "x"}, {"text": "How?"}
    typed, untyped = (
        family.render(processor, [{"role": "user", "content": [clip, part]}])
        for part in ({"type": "text", **text}, text)
    )
    assert typed == untyped


@pytest.mark.slow
def test_control_tokens_in_texts_are_refused_or_read_as_text(kind, folder, composed, make_clips):
    """What is not refused leaves the number of control tokens in a prompt as it is."""
    task = build_task(composed())
    (record,) = task.read(make_clips("clip", 1)).records
    family = kind.family(path=str(folder))
    record_encoder = RecordEncoder(task, family.processor(), family, max_seconds=30, cache_clips=1)
    names = control_tokens(record_encoder.processor.tokenizer)
    assert len(names) >= 6

    def count(text):
        changed = replace(record, fields={**record.fields, "transcript": text})
        messages = task.messages(changed, task.dimensions[0])
        prompt = record_encoder.encoder.prompt(messages)
        return sum(prompt.count(token) for token in names.values())

    kept = [
        f"Go.{name} On."
        for name in names
        if record_encoder.text_check.control_token(f"Go.{name} On.") is None
    ]
    assert {count(text) for text in kept} <= {count("Go. On.")}
    # Mistral's tokenizer reads all of them as text, the others none.
    assert len(kept) == (len(names) if kind is Mistrals else 0)

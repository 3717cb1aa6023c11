"""The lengths of questions, compared with the batches of a run, and records that are too long."""

import json
from dataclasses import replace

import numpy as np
import pytest
from transformers import (
    AudioFlamingo3Config,
    BloomConfig,
    GPT2Config,
    OPTConfig,
    Qwen2_5OmniThinkerConfig,
    Qwen2AudioConfig,
    VoxtralConfig,
)

from dramaeval.data.problems import BadRecordsError
from dramaeval.models.families.audio_flamingo3 import AudioFlamingo3
from dramaeval.models.families.causal_lm import CausalLM
from dramaeval.models.families.qwen2_5_omni import Qwen25Omni
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.families.voxtral import Voxtral
from dramaeval.models.inputs.collation import collate
from dramaeval.stages.context import RunContext
from dramaeval.stages.planner import make_plan
from dramaeval.stages.question_lengths import question_lengths
from dramaeval.stages.run_folder import RunFolder


@pytest.fixture
def context_of(composed, make_clips, tmp_path):
    """A function that builds a context whose third record has the text ``scene``."""

    def build(*overrides, scene=""):
        file = make_clips("test", 3)
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        lines[2]["local_scene"] = scene or lines[2]["local_scene"]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        file.write_text(text, encoding="utf-8")
        data = f"task.data.test={file}", f"task.data.train={file}"
        return RunContext(composed(*data, *overrides), RunFolder(tmp_path / "run"))

    return build


def lengths_of(context, positions=None):
    return question_lengths(
        context.splits.records, context.task, context.family, questions_per_clip=None,
        shared_prefix=True, record_encoder=context.record_encoder, positions=positions,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("task", "scene"),
    [
        ("task=role", "Ein Hof im Regen. " * 20),
        ("task=role", "雨の中の庭。" * 50),  # three bytes per character, about one token per byte
        ("task=role_all", ""),
    ],
)
def test_the_longest_question_of_the_plan_is_the_longest_in_the_batches(context_of, task, scene):
    context = context_of(task, "stages=[train]", scene=scene)
    plan = make_plan(context)
    encoder, longest = context.record_encoder, 0
    rng = np.random.default_rng(0)
    for record in context.splits["train"]:
        targets = context.task.targets(record, context.task.dimensions_for(record), rng)
        encoded = encoder.encode(record, context.task.dimensions_for(record), targets)
        longest = max(longest, collate([encoded], pad=encoder.pad).longest_question)
    assert plan.longest_question == longest
    assert f"  prompts    {longest:,} tokens in the longest question; the model has" in "\n".join(
        plan.lines()
    )


def test_the_text_before_all_clips_counts_once_in_a_pass(context_of):
    words = ("stages=[train]", "batch.cache_clips=8")
    context = context_of("task.prompt_layout=rubric_first", *words)
    records = context.splits.records["train"]
    rng = np.random.default_rng(0)
    encoded = [
        context.record_encoder.encode(
            record, dimensions, context.task.targets(record, dimensions, rng)
        )
        for record in records
        for dimensions in [context.task.dimensions_for(record)]
    ]
    computed, planned = [], []
    for clips in (1, 3):
        groups = [encoded[start : start + clips] for start in range(0, 3, clips)]
        computed.append(
            sum(collate(group, pad=context.record_encoder.pad).tokens for group in groups)
        )
        lengths = question_lengths(
            context.splits.records, context.task, context.family, questions_per_clip=None,
            shared_prefix=True, clips_per_pass=clips,
        )  # fmt: skip
        planned.append(sum(work.tokens for work in lengths.training))
    assert planned[0] - planned[1] == pytest.approx(computed[0] - computed[1], rel=0.15)


def test_a_question_may_fill_all_positions_but_not_exceed_them(context_of):
    context = context_of("stages=[evaluate]")
    length = lengths_of(context).longest
    assert not lengths_of(context, length).too_long
    refused = lengths_of(context, length - 1).too_long
    assert refused
    assert f"has {length:,} tokens, clips and answer included" in refused[0].problem
    same_line = [replace(record, line=1) for record in context.splits.records["test"]]
    context.splits.records["test"] = same_line
    assert {each.id for each in lengths_of(context, 1).too_long} == {each.id for each in same_line}


@pytest.mark.parametrize(
    "overrides",
    [
        ["stages=[train]"],
        ["stages=[evaluate]"],
        ["stages=[score]", "input=test.jsonl"],
        ["stages=[evaluate]", "task=role_emotion"],
        ["stages=[train]", "peft=prompt"],
    ],
    ids=" ".join,
)
def test_every_stage_names_the_record_that_is_too_long(
    context_of, monkeypatch, tmp_path, overrides
):
    monkeypatch.chdir(tmp_path)
    context = context_of(*overrides, scene="word " * 9000)
    with pytest.raises(BadRecordsError, match="never cut") as raised:
        make_plan(context)
    (line,) = {(problem.line, problem.id) for problem in raised.value.problems}
    assert line == (3, "test-2")
    assert context._model is None


def test_virtual_tokens_reduce_the_positions_for_the_question(context_of):
    without = make_plan(context_of("stages=[train]", "peft=lora")).positions
    context = context_of("stages=[train]", "peft=prompt")
    assert make_plan(context).positions == without - context.adapter.num_virtual_tokens
    assert context.adapter.num_virtual_tokens > 0


SIZE = {"max_position_embeddings": 77}


@pytest.mark.parametrize(
    ("family", "configuration", "positions"),
    [
        (Qwen2Audio, Qwen2AudioConfig(text_config={"model_type": "qwen2", **SIZE}), 77),
        (Qwen25Omni, Qwen2_5OmniThinkerConfig(text_config=SIZE), 77),
        (AudioFlamingo3, AudioFlamingo3Config(text_config={"model_type": "qwen2", **SIZE}), 77),
        (Voxtral, VoxtralConfig(text_config={"model_type": "llama", **SIZE}), 77),
        (CausalLM, OPTConfig(**SIZE), 77),
        (CausalLM, GPT2Config(n_positions=77), 77),
        (CausalLM, BloomConfig(), None),  # its attention has a bias instead of positions
    ],
)
def test_the_positions_of_each_family_are_read_from_its_configuration(
    family, configuration, positions
):
    assert family(path="").positions(configuration) == positions

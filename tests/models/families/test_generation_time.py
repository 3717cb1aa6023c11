"""The time of generation that a plan states: the timed work is that of the whole judge, by PyTorch's counter of operations."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.forward.generation import CachedGeneration
from dramaeval.models.inputs.batch import EncodedRecord, LabelledQuestion
from dramaeval.models.inputs.question_encoder import AnswerTokens, EncodedQuestion
from dramaeval.models.planning import generation_time
from dramaeval.models.planning.generation_time import measure_generation

CPU = torch.device("cpu")
TEXTS = 4


def judge_with(layers):
    """A small Qwen2-Audio, described by its sizes alone."""
    sizes = {
        "text_config": {"model_type": "qwen2", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2},
        "audio_config": {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32},
    }  # fmt: skip
    return Qwen2Audio(path="none", architecture=sizes)


def operations(work):
    """The operations of a call, which stand for its seconds: they do not depend on the machine."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.setattr(generation_time, "_seconds", operations)


def operations_of(judge, length):
    """The operations of a prompt and of one further token of each text."""
    answer = AnswerTokens(scale=(0,), lead=(), scores=(0,), tail=())
    question = LabelledQuestion(EncodedQuestion((0,) * length, answer))

    def start():
        return CachedGeneration(judge, [EncodedRecord((), (question,))], 0, CPU, TEXTS)

    with torch.inference_mode():
        begun = start()
        return operations(start), operations(lambda: begun.feed((0,) * TEXTS))


def test_the_timed_operations_of_each_family_are_those_of_its_judge(kind, folder, counted):
    family = kind.family(path=str(folder))
    skeleton = family.skeleton()
    measured = measure_generation(
        skeleton, family, CPU, torch.float32, prompt_tokens=12, texts=TEXTS
    )
    prompt, step = operations_of(family.load(CPU, dtype=torch.float32), 12)
    # Gemma's layers differ from each other: in width of attention, and in whose keys they use.
    error = 0.03 if kind.name.startswith("gemma") else 0
    assert measured.prompt == pytest.approx(prompt, rel=error)
    assert measured.step == pytest.approx(step, rel=error)
    assert all(weight.is_meta for weight in skeleton.parameters())


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 9])
def test_layers_that_are_not_timed_count_as_those_that_are(layers, counted):
    family = judge_with(layers)
    measured = measure_generation(
        family.skeleton(), family, CPU, torch.float32, prompt_tokens=12, texts=TEXTS
    )
    whole = family.model_class()(family.read_configuration()).eval()
    assert (measured.prompt, measured.step) == operations_of(whole, 12)


def test_a_long_prompt_takes_proportionally_longer(counted):
    family = judge_with(2)
    skeleton = family.skeleton()
    once, twice = (
        measure_generation(skeleton, family, CPU, torch.float32, prompt_tokens=length, texts=TEXTS)
        for length in (256, 512)
    )
    assert twice.prompt == 2 * once.prompt
    assert twice.step == once.step


def test_seconds_are_measured():
    family = judge_with(2)
    skeleton = family.skeleton()
    measured = measure_generation(
        skeleton, family, CPU, torch.float32, prompt_tokens=12, texts=TEXTS
    )
    assert 0 < measured.step < 60
    assert 0 < measured.prompt < 60

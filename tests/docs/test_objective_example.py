"""The example objective of the guide, and the guide's table of the attributes of a batch."""

import math
import re
from dataclasses import fields

import pytest
import torch
from repository import ROOT

from dramaeval.config.schema import PACKAGE
from dramaeval.data.records import read_records
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.inputs.batch import Batch
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task

PAGE = (ROOT / "docs" / "guides" / "extending.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("| attribute |")[2].partition("\n\n")[0]
ROWS = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", TABLE, re.MULTILINE)


@pytest.fixture
def example():
    code = re.search(r"<!-- file: my_judge\.py -->\n```python\n(.*?)```", PAGE, re.DOTALL)[1]
    names = {}
    exec(code, names)
    return names["confident"]


def test_the_example_is_the_entropy_over_the_scale(example):
    """The batch has two questions, the second with a scale of two scores, and a vocabulary of six tokens."""
    logits = torch.tensor([[9.0, 1.0, 2.0, 4.0, 8.0, 7.0], [3.0, 0.0, 1.0, 5.0, 5.0, 5.0]])
    batch = Batch(
        inputs={},
        labels=torch.tensor([1, 2]),
        question_of=torch.tensor([0, 1]),
        score_index=torch.tensor([0, 1]),
        score_tokens=torch.tensor([[1, 2, 3], [1, 2, -1]]),
        scale=torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 0.0]]),
        targets=None,
        tokens=2,
        clips=2,
    )

    def entropy(*values):
        total = sum(math.exp(value) for value in values)
        probabilities = [math.exp(value) / total for value in values]
        return -sum(p * math.log(p) for p in probabilities)

    expected = [entropy(1, 2, 4), entropy(0, 1)]
    assert example(logits, batch).tolist() == pytest.approx(expected, rel=1e-5)
    logits[:, [0, 4, 5]] += 3  # tokens that are not scores
    assert example(logits, batch).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_table_has_every_attribute_with_its_shape(composed, make_clips):
    declared = {field.name for field in fields(Batch)} - {"inputs"} | {"questions"}
    assert {name for name, _ in ROWS} == declared
    task = build_task(composed("task=role"))
    family = Qwen2Audio(path=str(PACKAGE / "models" / "tiny"))
    encoder = RecordEncoder(task, family.processor(), family, max_seconds=30, cache_clips=9)
    records = read_records(make_clips("two", 2), task.record_format()).records
    encoded = [
        encoder.encode(record, dimensions, task.targets(record, dimensions, None))
        for record in records
        if (dimensions := task.dimensions_for(record)[:3])
    ]
    batch = collate(encoded, pad=encoder.pad)
    sizes = {"answers": len(batch.labels), "questions": 6, "choices": 5}
    for name, form in ROWS:
        value = getattr(batch, name)
        if not isinstance(value, torch.Tensor):
            assert type(value).__name__ in form or (value is None and "None" in form), name
            continue
        kind, _, shape = form.partition(" ")
        assert str(value.dtype) == f"torch.{kind}", name
        named = re.findall(r"\w+", shape)
        assert list(value.shape) == [sizes.get(each) for each in named], name

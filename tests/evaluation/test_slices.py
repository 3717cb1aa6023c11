"""Slices: the records and the metrics of each part."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dramaeval.data.records import Record
from dramaeval.evaluation.slices import NOT_STATED, slices
from dramaeval.evaluation.summary import summarise


def record(number, seconds=1.0, **fields):
    return Record(
        id=f"clip-{number}", file=Path("x.jsonl"), line=number + 1, clip=Path("x.wav"),
        seconds=seconds, fields=fields, ratings={},
    )  # fmt: skip


@pytest.fixture
def judged(make_prediction):
    """A function that builds predictions with random errors about records."""

    def make(records, seed=0):
        rng = np.random.default_rng(seed)
        predictions = []
        for record in records:
            for key in ("pitch", "stress"):
                rating = int(rng.integers(1, 6))
                score = float(np.clip(rating + rng.normal(), 1, 5))
                predictions.append(
                    make_prediction(
                        record.id, score, (rating,), dimension=key, group=f"g{record.line % 7}"
                    )
                )
        return predictions

    return make


def sliced(predictions, records, names, train=()):
    return slices(predictions, records, train, names, seed=0, draws=50, level=0.95)


def test_a_slice_equals_an_evaluation_of_its_records(judged):
    records = [record(n, language="en" if n % 3 else "zh") for n in range(40)]
    predictions = judged(records)
    parts = sliced(predictions, records, ["language"])["language"]["values"]
    assert list(parts) == ["en", "zh"]
    for language, part in parts.items():
        ids = {record.id for record in records if record.fields["language"] == language}
        predictions_of_part = [prediction for prediction in predictions if prediction.id in ids]
        whole = summarise(predictions_of_part, ["pitch", "stress"], seed=0, draws=50)["macro"]
        for name in ("pearson", "mse", "bias"):
            assert part["macro"][name] == pytest.approx(whole[name])
            assert part["interval"][name] == pytest.approx(whole["interval"][name])
        assert part["records"] == len(ids)
        assert part["dimensions"]["pearson"] == 2


def test_a_custom_key_and_a_record_without_it(judged):
    records = [record(n, studio="A") for n in range(6)] + [record(9), record(10, studio=None)]
    parts = sliced(judged(records), records, ["studio"])["studio"]["values"]
    assert {name: part["records"] for name, part in parts.items()} == {"A": 6, NOT_STATED: 2}


def test_an_undefined_division_has_a_reason(judged):
    records = [record(n) for n in range(60)]
    named = [replace(record, fields={"name": record.id}) for record in records]
    predictions = judged(records)
    assert sliced(predictions, records, ["studio"])["studio"] == {
        "undefined": 'no record has the key "studio"'
    }
    assert "60 different values" in sliced(predictions, named, ["name"])["name"]["undefined"]
    for name, reason in {
        "length": "all have about the same length", "recorded": '"recorded" or "synthetic"',
        "character_seen": "training split was not read",
    }.items():  # fmt: skip
        assert reason in sliced(predictions, records, [name])[name]["undefined"]


def test_length_divides_the_records_into_thirds(judged):
    records = [record(n, seconds=float(n)) for n in range(1, 10)]
    parts = sliced(judged(records), records, ["length"])["length"]["values"]
    # Terciles of 1…9: 3.67 and 6.33.
    assert {name: part["records"] for name, part in parts.items()} == {
        "up to 3.7 s": 3, "3.7 to 6.3 s": 3, "over 6.3 s": 3,
    }  # fmt: skip
    assert next(iter(parts)).startswith("up")


def test_character_seen_compares_characters_with_the_training_split(judged):
    train = [record(0, character="Ada  Quill")]
    records = [record(1, character="ada quill"), record(2, character="Bo"), record(3)]
    parts = sliced(judged(records), records, ["character_seen"], train)["character_seen"]["values"]
    assert {name: part["records"] for name, part in parts.items()} == {
        "seen": 1, "unseen": 1, NOT_STATED: 1,
    }  # fmt: skip


def test_recorded_reads_several_keys_of_records(judged):
    kinds = ({"recorded": True}, {"recorded": False}, {"synthetic": True}, {"synthetic": False},
            {"source": "recorded"}, {"origin": "studio"})  # fmt: skip
    records = [record(n, **fields) for n, fields in enumerate(kinds)]
    parts = sliced(judged(records), records, ["recorded"])["recorded"]["values"]
    assert {name: part["records"] for name, part in parts.items()} == {
        "recorded": 3, "synthetic": 2, NOT_STATED: 1,
    }  # fmt: skip


def test_a_slice_with_few_groups_has_no_interval_and_counts_unscored_answers(make_prediction):
    records = [record(n, language="en") for n in range(4)]
    predictions = [
        make_prediction(record.id, None if n == 0 else 2.0 + n, (n + 1,), group="g")
        for n, record in enumerate(records)
    ]
    part = sliced(predictions, records, ["language"])["language"]["values"]["en"]
    assert part["interval"] == {"pearson": None, "mse": None, "bias": None}
    assert (part["records"], part["n"], part["unscored"]) == (4, 3, 1)
    assert part["macro"]["pearson"] == pytest.approx(1)


def test_records_of_a_mixture_with_the_same_id_are_in_their_own_slices(make_prediction):
    """Each task has the ids clip-0 to clip-9, and only records of one task are in a slice."""
    parts = {"role": "en", "archetype": "zh"}
    records = [
        replace(record(number, language=language), part=part)
        for part, language in parts.items()
        for number in range(10)
    ]
    predictions = [
        make_prediction(
            each.id, 3 + (each.part == "role"), (3,), dimension=f"{each.part}/pitch/mean"
        )
        for each in records
    ]
    values = sliced(predictions, records, ["language"])["language"]["values"]
    figures = {name: (part["records"], part["macro"]["bias"]) for name, part in values.items()}
    assert figures == {"en": (10, 1), "zh": (10, 0)}
    together = [replace(each, fields={"studio": "A"}) for each in records]
    (part,) = sliced(predictions, together, ["studio"])["studio"]["values"].values()
    assert part["records"] == 20


def test_a_key_with_a_slash_is_no_mixture(make_prediction):
    records = [record(0, studio="A")]
    predictions = [make_prediction("clip-0", 3, (3,), dimension="voice/pitch")]
    assert sliced(predictions, records, ["studio"])["studio"]["values"]["A"]["records"] == 1

"""The bundled sample: format, sizes, disjoint splits, statistics of ratings, and its reproducible build."""

import hashlib
import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dramaeval.data import sample
from dramaeval.data.record_format import AnnotationField, RecordFormat
from dramaeval.data.records import read_records
from dramaeval.data.splitting import overlap
from recipes.sample.build import fingerprint, mp3, rebuild
from recipes.sample.espeak import engine_version

SPLITS = ("train", "val", "test")
DIMENSIONS = (
    "pitch_variation",
    "rhythmic_naturalness",
    "stress_and_emphasis",
    "emotion_accuracy",
    "emotion_intensity_control",
    "dynamic_range",
    "voice_identity_matching",
    "trait_embodiment",
    "local_story_fit",
    "global_story_coherence",
)
GRADED = ("audio_quality", "human_likeness", "appropriateness")
ROOT = Path(sample.__file__).parent


def sample_file(task, split):
    return ROOT / task / f"{split}.jsonl"


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def realism():
    return {split: lines(sample_file("realism", split)) for split in SPLITS}


@pytest.fixture(scope="module")
def archetype():
    return {split: lines(sample_file("archetype", split)) for split in SPLITS}


@pytest.fixture(scope="module")
def manifest():
    return {
        entry["id"]: entry
        for task in ("realism", "archetype")
        for entry in lines(ROOT / task / "manifest.jsonl")
    }


def ratings(records, dimension):
    rows = [record["annotations"][dimension] for record in records]
    return np.array([[x if isinstance(x, int) else np.nan for x in row] for row in rows], float)


@pytest.mark.slow
def test_the_reader_reports_no_problem_and_no_overlap():
    graded = [AnnotationField(name=name, low=1, high=5) for name in GRADED]
    formats = {
        "realism": RecordFormat(
            text_fields=("local_scene", "char_age", "char_style", "char_profile", "transcript"),
            annotation_fields=tuple(AnnotationField(name=d, low=1, high=5) for d in DIMENSIONS),
        ),
        "archetype": RecordFormat(
            text_fields=("question",),
            annotation_fields=(AnnotationField(name="content_pass", low=0, high=1), *graded),
        ),
    }
    for task, fmt in formats.items():
        read = {split: read_records(sample_file(task, split), fmt) for split in SPLITS}
        assert [result.skipped + result.notices for result in read.values()] == [[], [], []]
        for first, second in combinations(SPLITS, 2):
            assert overlap(read[first].records, read[second].records) == []


def test_the_sample_has_the_stated_number_of_records_and_size(realism, archetype):
    assert {split: len(records) for split, records in realism.items()} == {
        "train": 440,
        "val": 80,
        "test": 120,
    }
    assert {split: len(records) for split, records in archetype.items()} == {
        "train": 220,
        "val": 40,
        "test": 60,
    }
    total = sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file())
    assert total <= 25e6


def test_realism_records_have_the_published_format(realism):
    for split, records in realism.items():
        for record in records:
            for key in ("local_scene", "char_age", "char_style", "char_profile", "transcript"):
                assert record[key].strip()
            assert record["dataset_name"] == "ROLE"
            assert record["audio_info"]["audio_caption"].endswith(".")
            assert (sample_file("realism", split).parent / record["wav_path"]).is_file()
            for dimension in DIMENSIONS:
                given = record["annotations"][dimension]
                assert len(given) == 6
                assert all(x in (1, 2, 3, 4, 5, None, "N/A") for x in given)


def test_archetype_records_have_the_published_format(archetype):
    rejected = 0
    for split, records in archetype.items():
        for record in records:
            assert record["dataset_name"] == "Arche"
            assert record["question"].endswith(("You say:", "你说："))
            assert (sample_file("archetype", split).parent / record["wav_path"]).is_file()
            votes = record["annotations"]["content_pass"]
            assert len(votes) == 6
            for dimension in GRADED:
                given = record["annotations"][dimension]
                for vote, rating in zip(votes, given, strict=True):
                    assert rating is None or (vote and rating in (1, 2, 3, 4, 5, "N/A"))
            rejected += not any(votes)
    assert 20 <= rejected <= 120


def test_ids_and_clips_are_distinct(realism, archetype, manifest):
    records = [r for part in (realism, archetype) for split in SPLITS for r in part[split]]
    assert len({record["id"] for record in records}) == len(records) == len(manifest)
    assert len({entry["file_sha256"] for entry in manifest.values()}) == len(records)
    clips = {path.name for path in ROOT.rglob("clips/*")}
    assert clips == {Path(record["wav_path"]).name for record in records}


def test_splits_share_no_character_scene_line_or_question(realism, archetype, manifest):
    for key, task in (
        ("character", realism),
        ("local_scene", realism),
        ("transcript", realism),
        ("char_profile", realism),
        ("character", archetype),
        ("question", archetype),
    ):
        sets = [{record[key] for record in task[split]} for split in SPLITS]
        assert sum(map(len, sets)) == len(set.union(*sets)), key
    spoken = [
        {manifest[r["id"]]["text"] for task in (realism, archetype) for r in task[split]}
        for split in SPLITS
    ]
    assert sum(map(len, spoken)) == len(set.union(*spoken))


def test_most_clips_are_between_1_5_and_5_seconds(manifest):
    seconds = np.array([entry["seconds"] for entry in manifest.values()])
    assert 2.5 <= seconds.mean() <= 3.3
    assert np.mean((seconds >= 1.5) & (seconds <= 5.0)) > 0.85
    assert seconds.max() < 10


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_raters_use_the_scale_and_agree_as_people_do(realism, manifest, dimension):
    records = [record for split in SPLITS for record in realism[split]]
    given = ratings(records, dimension)
    known = given[~np.isnan(given)]
    shares = [np.mean(known == score) for score in (1, 2, 3, 4, 5)]
    assert min(shares) > 0.05
    assert max(shares) < 0.45
    assert 2.7 < known.mean() < 3.6
    assert 0.005 < np.isnan(given).mean() < 0.06
    ceiling = []
    for rater in range(6):
        own_ratings, others = given[:, rater], np.nanmean(np.delete(given, rater, 1), axis=1)
        both = ~np.isnan(own_ratings)
        ceiling.append(np.corrcoef(own_ratings[both], others[both])[0, 1])
    assert 0.62 <= np.mean(ceiling) <= 0.83
    latent = [manifest[record["id"]]["latent"][dimension] for record in records]
    assert np.corrcoef(np.nanmean(given, axis=1), latent)[0, 1] >= 0.9


@pytest.mark.parametrize(
    ("dimension", "wanted", "given"),
    [
        ("pitch_variation", "lively", "pitch_range"),
        ("dynamic_range", "dynamic", "loudness_range"),
        ("trait_embodiment", "energetic", "level"),
        ("local_story_fit", "loud", "level"),
        ("rhythmic_naturalness", "urgent", "rate"),
    ],
)
def test_only_text_and_sound_together_predict_the_ratings(
    realism, manifest, dimension, wanted, given
):
    records = [record for split in SPLITS for record in realism[split]]
    score = np.nanmean(ratings(records, dimension), axis=1)
    entries = [manifest[record["id"]] for record in records]
    flag = np.array([entry["calls_for"][wanted] for entry in entries])
    amount = np.array([entry["delivery"][given] for entry in entries])
    assert abs(np.corrcoef(flag, score)[0, 1]) < 0.15
    # The sound alone has a small correlation with the ratings, much smaller than with the fitting text.
    assert abs(np.corrcoef(amount, score)[0, 1]) < 0.3
    for side, sign in ((1, 1), (0, -1)):
        chosen = flag == side
        assert sign * np.corrcoef(amount[chosen], score[chosen])[0, 1] > 0.4


def test_the_name_of_a_system_hardly_predicts_its_ratings(realism):
    records = [record for split in SPLITS for record in realism[split]]
    assert set(Counter(record["system"] for record in records).values()) == {128}
    for dimension in DIMENSIONS:
        score = np.nanmean(ratings(records, dimension), axis=1)
        means = [
            score[[record["system"] == name for record in records]].mean()
            for name in ("aspen", "birch", "cedar", "maple", "rowan")
        ]
        assert max(means) - min(means) < 0.8


@pytest.mark.parametrize("task", ["realism", "archetype"])
@pytest.mark.parametrize("place", [0, 101, -1])
def test_clips_can_be_rebuilt_bit_for_bit(task, place):
    version = engine_version()
    if not version.startswith("1.52"):
        pytest.skip(f"the sample was made with espeak-ng 1.52, here is {version}")
    entry = lines(ROOT / task / "manifest.jsonl")[place]
    samples = rebuild(entry)
    assert fingerprint(samples) == entry["samples_sha256"]
    shipped = (ROOT / task / "clips" / f"{entry['id']}.mp3").read_bytes()
    assert hashlib.sha256(shipped).hexdigest() == entry["file_sha256"]
    decoded, rate = soundfile.read(ROOT / task / "clips" / f"{entry['id']}.mp3")
    assert (len(decoded), rate) == (len(samples), 16000)
    assert np.corrcoef(decoded, samples)[0, 1] > 0.9
    if f"libsndfile {soundfile.__libsndfile_version__})" in (ROOT / "DATACARD.md").read_text():
        assert mp3(samples) == shipped


def test_the_plan_gives_the_bundled_records(realism, archetype):
    from recipes.sample.plan import plan_archetype, plan_realism

    for split in SPLITS:
        assert [take.record for take in plan_realism(split)] == realism[split]
        assert [take.record for take in plan_archetype(split)] == archetype[split]


def test_the_data_card_has_every_required_statement(realism, archetype):
    card = (ROOT / "DATACARD.md").read_text(encoding="utf-8")
    assert "Synthetic throughout" in card
    assert "CC0" in card
    assert "960 clips" in card

"""The presets in configs/importer, with small imitations of each corpus and with the real corpora of the shared folder."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from presets import preset
from repository import ROOT
from source_rows import source_rows

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.importing.card import card_text
from dramaeval.importing.draft_rubric import cannot_train, rubric_values
from dramaeval.importing.importer import read_import
from dramaeval.importing.problems import BadSourceError
from dramaeval.stages.builders import build_task

REAL = ROOT.parent / "shared" / "real"


@pytest.fixture
def corpus(tmp_path, clip):
    """A function that writes the files of a corpus and imports it with its preset."""

    def read(name, contents, clips=(), file=".", **settings):
        for each in clips:
            clip(each)
        for path, text in contents.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
        config = ImporterConfig(**{**preset(name), "file": str(tmp_path / file), **settings})
        return read_import(config, tmp_path / "out")

    return read


def summary(imported):
    return [
        (r["id"], r["annotations"], r.get("system") or r.get("character")) for r in imported.records
    ]


def reasons(imported):
    return cannot_train(rubric_values("x", "en", imported.dimensions), imported.records)


def test_sheet_mos_is_imported(corpus):
    text = (
        "wav_path,score,system_id,sample_id,listener_id\n"
        "w/a.wav,4,sysA,a,l1\nw/a.wav,2,sysA,a,l2\nw/b.wav,5,sysB,b,l2\n"
    )
    imported = corpus("sheet_mos", {"train.csv": text}, ["w/a.wav", "w/b.wav"], "train.csv")
    assert summary(imported) == [("a", {"mos": [4, 2]}, "sysA"), ("b", {"mos": [None, 5]}, "sysB")]
    assert imported.raters == ["l1", "l2"]
    assert reasons(imported) == []


def test_bvcc_is_imported(corpus):
    row = "sys1,sys1-utt{}.wav,{},VDP1_1,{{}}_30-39_{}_Female_Valid_1_No\n"
    files = {
        "sets/TRAINSET": row.format(1, 4, "x") + row.format(1, 5, "y"),
        "sets/DEVSET": row.format(2, 1, "x"),
    }
    imported = corpus("bvcc", files, ["wav/sys1-utt1.wav", "wav/sys1-utt2.wav"])
    assert summary(imported) == [
        ("sys1-utt1", {"mos": [4, 5]}, "sys1"),
        ("sys1-utt2", {"mos": [1, None]}, "sys1"),
    ]
    assert imported.splits == ["train", "val"]


def test_a_partial_copy_of_bvcc_is_reported_and_read_where_the_settings_allow_it(corpus):
    row = "sys1,sys1-utt1.wav,4,VDP1_1,{}_30-39_x_Female_Valid_1_No\n"
    with pytest.raises(BadSourceError, match="DEVSET"):
        corpus("bvcc", {"sets/TRAINSET": row}, ["wav/sys1-utt1.wav"])
    files = {"train": "sets/TRAINSET", "val": None}
    assert len(corpus("bvcc", {"sets/TRAINSET": row}, files=files).records) == 1


def test_somos_is_imported(corpus):
    head = "systemId,utteranceId,choice,listenerId\n"
    files = {
        f"training_files/split1/full/{name}SET": head
        + f"015,{utterance}_015.wav,{choice},K{choice}\n"
        for name, utterance, choice in (("TRAIN", "n1", 4), ("VALID", "n2", 3), ("TEST", "n3", 1))
    }
    clips = [f"audios/n{n}_015.wav" for n in (1, 2, 3)]
    imported = corpus("somos", files, clips)
    assert imported.splits == ["train", "val", "test"]
    assert [r["annotations"]["mos"] for r in imported.records] == [
        [4, None, None],
        [None, 3, None],
        [None, None, 1],
    ]


def test_nisqa_is_imported(corpus):
    head = "db,con,filename_deg,lang,votes,mos,noi,col,dis,loud,noi_std,col_std,dis_std,loud_std,mos_std\n"
    row = "NISQA_TRAIN_SIM,7,c1.wav,en,5,3.4,3,2.2,4.8,4,0.7,0.8,0.4,0,1.1\n"
    name = "NISQA_TRAIN_SIM/NISQA_TRAIN_SIM_file.csv"
    files = {"train": [name], "val": None, "test": None}
    clips = ["NISQA_TRAIN_SIM/deg/c1.wav"]
    imported = corpus("nisqa", {name: head + row}, clips, files=files)
    record = imported.records[0]
    assert record["annotations"]["mos"] == {"mean": 3.4, "std": 1.1, "n": 5}
    assert record["annotations"]["discontinuity"] == {"mean": 4.8, "std": 0.4, "n": 5}
    assert (record["system"], record["language"], imported.splits) == ("7", "en", ["train"])


def test_crema_d_is_imported(corpus):
    text = (
        '"","localid","pos","ans","ttr","queryType","clipName","respEmo","respLevel"\n'
        '"1","s1",1,"A_80",100,1,"1001_IEO_ANG_HI","A",80\n'
        '"2","s2",1,"A_55",100,1,"1001_IEO_ANG_HI","A",55\n'
        '"3","s1",2,"N_20",100,2,"1001_TIE_NEU_XX","N",20\n'
    )
    imported = corpus("crema_d", {"finishedResponses.csv": text}, ["AudioWAV/1001_IEO_ANG_HI.wav"])
    assert summary(imported) == [("1001_IEO_ANG_HI", {"crema_d": [80, 55]}, "1001")]
    record = imported.records[0]
    assert (record["transcript"], record["emotion"]) == ("It's eleven o'clock", "anger")
    assert "1 row left out by importer.where." in imported.notices
    assert list(imported.dimensions[0].scale) == list(range(101))


def test_ravdess_is_imported(corpus):
    text = "filename,rater,intensity,genuineness\n03-01-05-02-02-01-12.wav,r1,4,5\n"
    clips = ["Actor_12/03-01-05-02-02-01-12.wav"]
    imported = corpus("ravdess", {"ratings.csv": text}, clips, "ratings.csv")
    assert summary(imported) == [
        ("03-01-05-02-02-01-12", {"intensity": [4], "genuineness": [5]}, "12")
    ]
    record = imported.records[0]
    assert (record["emotion"], record["transcript"]) == ("anger", "Dogs are sitting by the door")


def test_pairs_of_speechjudge_are_imported_and_read_by_the_task_pair(corpus, tmp_path, composed):
    sounds = []
    for number, name in enumerate(("a.wav", "b.wav"), 1):
        soundfile.write(tmp_path / name, np.full(1600, number / 10), 16_000)
        sounds.append((tmp_path / name).read_bytes())
    columns = {
        "audioA": [{"bytes": sounds[0], "path": "a.wav"}],
        "audioB": [{"bytes": sounds[1], "path": "b.wav"}],
        "target_text": ["hello"],
        "naturalness_annotation": [["B+2", "A+1", "Tie"]],
    }
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "in" / "train-00000.parquet")
    settings = {"columns": {"clip": "audioA", "clip_b": "audioB", "transcript": "target_text"}}
    files = {"train": "train-*.parquet"}
    imported = corpus("speechjudge", {}, file="in", files=files, **settings)
    record = imported.records[0]
    assert record["annotations"] == {"naturalness": [-2, 1, 0]}
    assert record["wav_path_b"].endswith("out/b.wav")
    assert "pairs of clips" in reasons(imported)[0]
    file = tmp_path / "records.jsonl"
    file.write_text(json.dumps(record) + "\n", encoding="utf-8")
    task = build_task(
        composed("task=pair", "task/rubric=naturalness", "task.context=''", "task.dimensions=null",
                 "task.optional_context=['Transcript: {transcript}']")
    )  # fmt: skip
    (pair,) = task.read(file).records
    assert pair.ratings == {"naturalness": (-2.0, 1.0, 0.0)}
    assert task.context_text(pair) == "Transcript: hello"


def test_speech_drame_is_imported(corpus):
    ratings = {name: [5, None, 3] for name in preset("speech_drame")["dimensions"]}
    record = {"id": "r-1", "wav_path": "a.wav", "transcript": "Hi", "annotations": ratings}
    imported = corpus("speech_drame", {"eval.jsonl": json.dumps(record)}, ["a.wav"], "eval.jsonl")
    assert imported.records[0]["annotations"] == ratings
    assert reasons(imported) == []


def test_speechocean762_in_kaldi_folders_is_imported(corpus, tmp_path):
    scores = {
        "u1": {"accuracy": [8, 9, 10, 7, 8], "fluency": [1] * 5, "prosodic": [0] * 5, "total": 8}
    }
    files = {
        "train/wav.scp": f"u1\t{tmp_path}/WAVE/u1.wav\n",
        "train/text": "u1\tMARK IS GOING\n",
        "train/utt2spk": "u1\t0001\n",
        "resource/scores-detail.json": json.dumps(scores),
    }
    folders = {"train": "train", "test": None}
    imported = corpus("speechocean762_kaldi", files, ["WAVE/u1.wav"], files=folders)
    expected = {name: scores["u1"][name] for name in ("accuracy", "fluency", "prosodic")}
    assert summary(imported) == [("u1", expected, "0001")]


def test_the_card_has_the_source_the_licence_and_the_limits(corpus):
    text = "filename,rater,intensity,genuineness\n03-01-05-02-02-01-12.wav,r1,4,5\n"
    settings = ImporterConfig(**{**preset("ravdess"), "file": "ratings.csv"})
    imported = corpus("ravdess", {"ratings.csv": text}, ["03-01-05-02-02-01-12.wav"], "ratings.csv")
    card = card_text(imported, settings, {"train": 1}, ["because"])
    for part in ("CC BY-NC-SA 4.0", "Livingstone", "cannot train", "because", "| train | 1 |"):
        assert part in card


def real(name, tmp_path):
    folder = REAL / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: real speech is not part of the repository")
    config = ImporterConfig(**{**preset(name), "file": str(folder)})
    return folder, read_import(config, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "splits", "key"),
    [
        ("speechocean762", {"train": 2200, "val": 300, "test": 1260}, "raw_scores_0_10"),
        ("emodb", {"train": 270, "val": 56, "test": 209}, "annotations"),
    ],
)
def test_real_corpora_are_imported_with_their_ratings(tmp_path, name, splits, key):
    folder, imported = real(name, tmp_path)
    assert {split: imported.splits.count(split) for split in splits} == splits
    originals = [
        json.loads(line)
        for split in ("test", "train", "val")
        for line in (folder / f"{split}.jsonl").read_text("utf-8").splitlines()
    ]
    assert source_rows(imported.records) == originals
    by_id = {record["id"]: record for record in imported.records}
    for original in originals:
        assert by_id[original["id"]]["annotations"] == original[key]
    # The scale from 0 to 10 of speechocean762 can be trained too.
    assert reasons(imported) == []


def test_quotes_line_breaks_and_other_scripts_in_a_csv_file_are_read_unchanged(corpus):
    rows = [{"wav_path": "a.wav", "score": "4", "system_id": 's"1,\n', "sample_id": "拖延"}]
    text = ",".join(rows[0]) + "\n"
    text += ",".join('"' + value.replace('"', '""') + '"' for value in rows[0].values()) + "\n"
    assert list(csv.DictReader(text.splitlines(keepends=True))) == rows
    imported = corpus("sheet_mos", {"t.csv": text}, ["a.wav"], "t.csv")
    assert source_rows(imported.records) == rows

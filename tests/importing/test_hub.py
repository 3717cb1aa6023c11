"""Data sets of the Hugging Face hub, which the library datasets loads from its cache without a network."""

import datasets
import huggingface_hub.constants
import pytest
from datasets.arrow_writer import ArrowWriter

from dramaeval.config.composition import compose
from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.importing.importer import read_import
from dramaeval.importing.problems import BadSourceError
from dramaeval.stages.converted_sources import jsonl_of
from dramaeval.tasks.settings import missing_files

NAME = "hf:owner/voices"


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """The library datasets without a network; returns the folder of its empty cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def cached(offline, tmp_path, clip):
    """The data set owner/voices in the cache, with two splits and its audio inside."""
    folder = offline / "owner___voices" / "default" / "0.0.0" / ("0" * 40)
    folder.mkdir(parents=True)
    features = datasets.Features(
        {
            "audio": datasets.Audio(),
            "quality": datasets.Value("float64"),
            "speaker": datasets.Value("string"),
        }
    )
    for split, quality in (("train", 3.42), ("test", 1.5)):
        content = (tmp_path / clip(f"{split}.wav")).read_bytes()
        with ArrowWriter(path=str(folder / f"voices-{split}.arrow"), features=features) as writer:
            audio = {"bytes": content, "path": f"{split}.wav"}
            writer.write({"audio": audio, "quality": quality, "speaker": split})
            writer.finalize()
    splits = {
        name: {"name": name, "num_bytes": 1, "num_examples": 1, "dataset_name": "voices"}
        for name in ("train", "test")
    }
    info = {"builder_name": "parquet", "dataset_name": "voices", "config_name": "default"}
    datasets.DatasetInfo(
        features=features, splits=splits, version="0.0.0", **info
    ).write_to_directory(str(folder))


@pytest.mark.usefixtures("cached")
def test_a_data_set_of_the_hub_is_imported(tmp_path):
    settings = ImporterConfig(file=NAME, values="means")
    imported = read_import(settings, tmp_path / "clips")
    assert imported.name == "voices"
    assert imported.splits == ["train", "test"]
    assert [each["annotations"] for each in imported.records] == [
        {"quality": 3.42},
        {"quality": 1.5},
    ]
    # The audio inside the data set, byte by byte.
    for record in imported.records:
        name = record["wav_path"].rpartition("/")[2]
        original = tmp_path / f"{record['source'][0]['values']['speaker']}.wav"
        assert (tmp_path / "clips" / name).read_bytes() == original.read_bytes()


@pytest.mark.usefixtures("cached")
def test_a_data_set_of_the_hub_is_a_file_of_records(tmp_path):
    config = compose(
        "task=speech",
        f"task.data.train={NAME}",
        f"cache.folder={tmp_path}/cache",
        "importer.values=means",
    )
    assert missing_files(config) == []
    text = jsonl_of(config, "train", NAME).read_text("utf-8")
    assert '"quality": 3.42' in text
    assert "1.5" not in text


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "problem", "fix"),
    [
        (NAME, "Couldn't reach 'owner/voices' on the Hub", "connect this machine"),
        ("hf:owner/voices@main:small", "Couldn't reach", "save_to_disk"),
        ("hf:a/b/c", "not a name of the hub", "write hf:OWNER/NAME"),
        ("owner/voices", "no such file or folder", "is named hf:owner/voices"),
    ],
)
def test_data_sets_that_cannot_be_loaded_are_reported_with_the_fix(name, problem, fix, tmp_path):
    with pytest.raises(BadSourceError) as refusal:
        read_import(ImporterConfig(file=name), tmp_path)
    (problem_found,) = refusal.value.problems
    assert str(problem_found.file) == name
    assert problem in problem_found.problem
    assert fix in problem_found.fix


def test_a_hub_name_without_hf_is_reported_with_the_fix():
    config = compose("task=speech", "task.data.train=owner/voices")
    assert missing_files(config) == [
        "task.data.train: owner/voices does not exist. A data set of the Hugging Face hub is named hf:owner/voices."
    ]

"""Leaderboards of an input folder that has one folder for each system."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from chat_endpoint import chat_endpoint

from dramaeval.stages import leaderboard
from dramaeval.stages.builders import build_task
from dramaeval.stages.pipeline import run_in_folder
from dramaeval.stages.score_input import input_sources

LOUDNESS = {"quiet": 0.02, "middle": 0.1, "loud": 0.18}
TEXTS = (
    "texts.local_scene=A harbour.", "texts.char_age=Adult", "texts.char_style=Dry",
    "texts.char_profile=A sailor.", "texts.transcript=It is late.",
)  # fmt: skip


@pytest.fixture
def voices(tmp_path):
    """Three systems with the same six file names; one of them has FLAC files."""
    rng = np.random.default_rng(0)
    for system, level in LOUDNESS.items():
        for prompt in range(6):
            ending = "flac" if system == "loud" else "wav"
            file = tmp_path / "voices" / system / "scenes" / f"line.{prompt}.{ending}"
            file.parent.mkdir(parents=True, exist_ok=True)
            wave = rng.standard_normal(8000) * (level + 0.01 * prompt)
            soundfile.write(file, wave.clip(-1, 1), 16_000)
    return tmp_path / "voices"


def lines_of(source):
    return [json.loads(line) for line in Path(source.file).read_text().splitlines()]


def test_folders_are_systems_and_file_names_are_prompts(composed, voices, tmp_path):
    config = composed("stages=[leaderboard]", f"input={voices}", *TEXTS)
    (source,) = input_sources(config, build_task(config), tmp_path / "out")
    lines = lines_of(source)
    assert {line["system"] for line in lines} == set(LOUDNESS)
    prompts = {line["file_in_system"] for line in lines}
    assert prompts == {f"scenes/line.{number}" for number in range(6)}
    # In a scoring run the folders are not systems.
    config = composed("stages=[score]", f"input={voices}", *TEXTS)
    (source,) = input_sources(config, build_task(config), tmp_path / "out")
    lines = lines_of(source)
    assert all(set(line) == {"id", "wav_path"} for line in lines)


@pytest.mark.slow
def test_the_leaderboard_page_states_title_date_judge_and_ranks(composed, voices, tmp_path):
    folder = tmp_path / "board"
    folder.mkdir()
    with chat_endpoint() as endpoint:
        config = composed(
            "model=api", "model.name=listener-1", f"model.base_url={endpoint.url}",
            f"model.cache={tmp_path / 'cache'}", "device=cpu", "stages=[leaderboard]", f"input={voices}",
            "task.dimensions=[rhythmic_naturalness]", "leaderboard.title=Three voices",
            "leaderboard.examples=1", "evaluation.draws=50", *TEXTS,
        )  # fmt: skip
        run_in_folder(config, folder, lambda *_: (), starts_processes=False)
    board = json.loads((folder / "leaderboard.json").read_text())
    assert list(board["systems"]) == ["loud", "middle", "quiet"]
    assert (board["title"], board["prompts"]) == ("Three voices", 6)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", board["date"])
    assert "not known" in board["judge"]
    html = (folder / "report.html").read_text()
    assert html.count("<audio controls") == 6
    assert "<h1>Three voices</h1>" in html
    assert "Rhythmic" in html


def test_a_given_prompt_key_replaces_the_texts_as_the_prompt(composed, make_clips):
    task = build_task(composed())
    first, second = task.read(make_clips("clip", 2)).records
    assert leaderboard.prompt_of(task, first) != leaderboard.prompt_of(task, second)
    for record in (first, second):
        record.fields["line_number"] = "7"
    assert leaderboard.prompt_of(task, first, "line_number") == "7"
    assert leaderboard.prompt_of(task, second, "line_number") == "7"


@pytest.mark.parametrize(
    ("settings", "refused"),
    [([], []), (["examples=0"], []), (["examples=5"], ["examples=5"]),
     (["examples=5", "prompt=scene"], ["prompt=scene", "examples=5"])],
)  # fmt: skip
def test_settings_about_prompts_are_refused_with_pairs(composed, settings, refused):
    config = composed("task=pair", *(f"leaderboard.{setting}" for setting in settings))
    context = SimpleNamespace(config=config, task=build_task(config))
    problems = leaderboard._prompt_problems(context)
    assert [problem.partition(":")[0] for problem in problems] == [
        f"leaderboard.{setting}" for setting in refused
    ]

"""Small runs on pairs derived from the bundled sample, and settings that pairs do not support."""

import json
import math

import pytest

from dramaeval import AudioDataset, Judge
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.models.inputs.clip_check import clip_problem
from dramaeval.stages.builders import build_family, build_task
from dramaeval.stages.checks import check
from dramaeval.stages.compatibility import check_task
from dramaeval.stages.context import RunContext
from dramaeval.stages.pipeline import run_stages
from dramaeval.stages.predictions_file import read_phase
from dramaeval.stages.run_folder import RunFolder
from dramaeval.training.validation_metrics import validation_metrics

SAMPLE = PACKAGE / "data" / "sample" / "archetype"
QUICK = (
    "device=cpu", "trainer.args.per_device_train_batch_size=4", "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false", "trainer.args.eval_strategy=no",
    "evaluation.draws=20", "evaluation.html=false", "logger=none", "peft=lora", "trainer.args.learning_rate=1e-2",
)  # fmt: skip
MIXED = (
    "task=mixed", "~task.tasks.role", "~task.weights.role", "~task.tasks.avqa", "~task.weights.avqa",
    "+task@task.tasks.pair=pair", "+task.weights.pair=1",
)  # fmt: skip


@pytest.fixture
def first_records(tmp_path):
    """A function that writes the first records of a split of the sample; a few pairs are derived from them."""

    def write(split, count):
        lines = (SAMPLE / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()[:count]
        file = tmp_path / f"{split}.jsonl"
        with file.open("w", encoding="utf-8") as out:
            for line in map(json.loads, lines):
                line["wav_path"] = str((SAMPLE / line["wav_path"]).resolve())
                out.write(json.dumps(line) + "\n")
        return file

    return write


@pytest.fixture
def run(composed, tmp_path, small_judge):
    def run_in_folder(*settings):
        config = composed(*QUICK, small_judge, *settings)
        check(config)
        folder = RunFolder(tmp_path / "run")
        folder.path.mkdir()
        folder.open(config)
        context = RunContext(config, folder)
        run_stages(context)
        return context

    return run_in_folder


@pytest.mark.slow
def test_a_judge_learns_from_pairs_and_scores_single_clips(run, first_records):
    file = first_records("train", 12)
    # The judge is tested on its training pairs, which it has to fit.
    data = f"task.data.train={file}", f"task.data.test={file}"
    context = run("task=pair", *data, "trainer.args.max_steps=15")
    before, after = (
        read_phase(context.folder.predictions(phase)).pairs["test"]
        for phase in ("zero_shot", "final")
    )
    voted = [(record.id, dimension.key) for record in context.splits["test"]
             for dimension in context.task.dimensions_for(record)]  # fmt: skip
    assert [(p.id, p.dimension) for p in after] == voted
    key = "pair_cross_entropy"
    assert validation_metrics(after)[key] < validation_metrics(before)[key] - 0.02
    judge, prediction = Judge.load(context.folder.path, device="cpu"), after[0]
    texts = {"question": prediction.prompt}
    a, b = (
        judge.score(clip, "pair", **texts)[prediction.dimension].expected
        for clip in (prediction.clip_a, prediction.clip_b)
    )
    assert a - b == pytest.approx(prediction.margin, abs=1e-5)
    compared = judge.compare(prediction.clip_a, prediction.clip_b, **texts)
    assert compared[prediction.dimension].p_a == pytest.approx(prediction.p_a, abs=1e-5)


@pytest.mark.slow
def test_a_judge_learns_to_compare_directly(run, first_records):
    file = first_records("train", 12)
    data = f"task.data.train={file}", f"task.data.test={file}"
    context = run("task=pair_direct", *data, "trainer.args.max_steps=50")
    before, after = (
        validation_metrics(read_phase(context.folder.predictions(phase)).pairs["test"])
        for phase in ("zero_shot", "final")
    )
    assert after["pair_cross_entropy"] < before["pair_cross_entropy"] - 0.02
    # In Python the task of the run is the default.
    prediction = read_phase(context.folder.predictions("final")).pairs["test"][0]
    judge = Judge.load(context.folder.path, device="cpu")
    clips = prediction.clip_a, prediction.clip_b
    compared = judge.compare(*clips, question=prediction.prompt)[prediction.dimension]
    assert compared.order_ab == pytest.approx(prediction.order_ab, abs=1e-5)


@pytest.mark.slow
def test_pairs_and_ratings_train_one_judge(run, first_records):
    file = first_records("train", 12)
    context = run(
        *MIXED, *(f"task.tasks.{part}.data.{split}={file}" for part in ("pair", "archetype")
                  for split in ("train", "test")),
        "trainer.args.max_steps=3", "trainer.objective=expected_mse+bradley_terry",
        "evaluation.zero_shot=false",
    )  # fmt: skip
    predictions = read_phase(context.folder.predictions("final"))
    assert {p.dimension.split("/")[0] for p in predictions.pairs["test"]} == {"pair"}
    assert {p.dimension.split("/")[0] for p in predictions.ratings["test"]} == {"archetype"}
    metrics = json.loads(context.folder.metrics.read_text(encoding="utf-8"))
    assert math.isfinite(metrics["tasks"]["archetype"]["test"]["final"]["macro"]["mse"])


REFUSED = {
    "an objective without pairs": (
        ("task=pair", "trainer.objective=expected_mse"), "add bradley_terry",
    ),
    "pairs without ratings": (
        ("task=archetype", "trainer.objective=expected_mse+bradley_terry"), "no task has such pairs",
    ),
    "direct answers by bradley_terry": (
        ("task=pair_direct", "trainer.objective=bradley_terry"), "no task has such pairs",
    ),
    "a mixture trained on pairs only": (
        (*MIXED, "trainer.objective=bradley_terry"), "archetype would not be trained",
    ),
    "a direct answer from a regression head": (
        ("task=pair_direct", "model.head=regression", "trainer.objective=expected_mse"),
        "asks for A, B or tie",
    ),
    "a text model": (
        ("task=pair", "model=causal_lm", "model.path=gpt2"), "takes no audio",
    ),
    "prepared lines": (("task=pair", "stages=[prepare]"), "lines with one clip"),
    "rewards of ratings": (
        ("task=pair", "trainer=grpo"), "trainer.rewards.distance.weight=0 trainer.rewards.pair_accuracy.weight=1",
    ),
    "rewards of pairs and ratings in one run": (
        (*MIXED, "trainer=grpo"), "a pass needs the same number for every record",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "problem"), REFUSED.values(), ids=REFUSED)
def test_settings_that_pairs_do_not_support_are_refused(composed, settings, problem):
    config = composed(*settings)
    with pytest.raises(ConfigError, match=problem):
        check_task(config, build_family(config), build_task(config))


@pytest.mark.parametrize(
    "settings", [("task=pair",), ("task=pair", "model.head=regression"), ("task=pair_direct",)]
)
def test_the_default_objective_of_pairs_is_accepted(composed, settings):
    config = composed(*settings)
    check_task(config, build_family(config), build_task(config))


def test_a_dataset_of_single_clips_refuses_pairs(composed, first_records):
    task = build_task(composed("task=pair"))
    with pytest.raises(ValueError, match="compares two clips"):
        AudioDataset(first_records("train", 12), task=task)


def test_a_template_without_a_second_clip_is_refused(composed, first_records):
    class Encoder:
        """Renders one audio placeholder, even if the messages have two clips."""

        audio_token = 7
        encoder = property(lambda self: self)

        def __init__(self, family, task):
            self.family, self.task = family, task

        def prompt(self, messages):
            return (1, 7, 2)

    for name, refused in (("pair_direct", True), ("pair", False)):
        config = composed(f"task={name}")
        task = build_task(config)
        records = task.read(first_records("train", 12)).records
        problem = clip_problem(Encoder(build_family(config), task), records)
        assert bool(problem) == refused
        assert not refused or "renders 1 audio placeholders" in problem

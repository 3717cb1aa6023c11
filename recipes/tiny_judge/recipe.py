"""The complete recipe of the tiny judge: tokenizer, clips, audio pretraining, lessons, check."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from dramaeval.compat.glibc import keep_freed_memory
from dramaeval.data.logmel import ClipFeatures
from dramaeval.tasks.rubric import read_rubric
from recipes.sample import context as contexts
from recipes.tiny_judge import neutral_scores, questions
from recipes.tiny_judge.architecture import VOCABULARY, build_model, build_processor
from recipes.tiny_judge.audio_pretraining import (
    AudioPropertyModel,
    Targets,
    batch_of_similar_lengths,
    melody_loss,
    property_loss,
    property_scores,
    stress_loss,
)
from recipes.tiny_judge.clips import Spoken, draw, render_all
from recipes.tiny_judge.comparisons import Item
from recipes.tiny_judge.encoded_clip_judge import (
    EncodedClipJudge,
    encode_clips,
    encoded_clip_judge,
)
from recipes.tiny_judge.lessons import (
    Lesson,
    LessonBuilder,
    LessonModel,
    Wording,
    accuracies,
    context_for,
)
from recipes.tiny_judge.tokenizer import train_tokenizer
from recipes.tiny_judge.training_stage import StageSettings, train_stage

#: The weight of the loss of stressed moments in the first stage; a guess costs about 0.5.
STRESS_WEIGHT = 4.0
CONFIGS = Path(__file__).parents[2] / "configs"


@dataclass(frozen=True, kw_only=True)
class Sort:
    """The size of a lesson: records, questions on each, and whether these are under the rubric's text."""

    records: int
    questions: int
    under_rubric: bool = False


READING = Sort(records=32, questions=4)
PLAIN = Sort(records=14, questions=10)
UNDER_RUBRIC = Sort(records=10, questions=8, under_rubric=True)
#: The share of each sort after the first lessons, all of which are `READING`.
MIXED = {UNDER_RUBRIC: 0.6, READING: 0.25, PLAIN: 0.15}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The amounts of the recipe.

    Attributes:
        seed: seed of all random number generators.
        processes: number of processes that synthesise clips.
        audio_clips: number of training clips of the audio tower.
        lesson_clips: number of further clips for the lessons. The tower was not trained on them, so its outputs
            are those of unseen clips.
        checked_clips: number of clips in voices and words of the sample's split for the final check.
        audio_steps: steps of the audio tower, of `audio_batch` clips each.
        reading_steps: lessons of many records with a few plain questions each, which teach to compare. Comparing is
            learnt late: after 2,000 steps with one question each most kinds of comparison are right in a third of the cases.
        mixed_steps: lessons of all sorts after them, most under the rubric's text.
        tokenizer_lines: drawn lines in the tokenizer's corpus.
        score_records: records for which the judge's states before a score are collected, see `neutral_scores`.
    """

    seed: int = 0
    processes: int = 2
    audio_clips: int = 24_000
    lesson_clips: int = 12_000
    checked_clips: int = 600
    audio_steps: int = 4_000
    audio_batch: int = 32
    audio_learning_rate: float = 1.5e-3
    lesson_learning_rate: float = 2e-3
    reading_steps: int = 3_000
    mixed_steps: int = 1_000
    tokenizer_lines: int = 4_000
    score_records: int = 120

    @property
    def lesson_steps(self) -> int:
        """Lessons of all sorts."""
        return self.reading_steps + self.mixed_steps

    def sort_of_lesson(self, step: int, rng: np.random.Generator) -> Sort:
        """`READING` for the first steps, then a random sort."""
        if step < self.reading_steps:
            return READING
        return list(MIXED)[int(rng.choice(len(MIXED), p=list(MIXED.values())))]

    def shortened(self, share: float) -> Plan:
        """The same plan with this share of its clips and steps."""
        amounts = [
            field.name for field in fields(self) if field.name.endswith(("_clips", "_steps"))
        ]
        return replace(self, **{name: math.ceil(getattr(self, name) * share) for name in amounts})


class Recipe:
    """Builds the tiny judge in stages; finished stages are read from the work folder.

    Args:
        plan: the amounts.
        work: a folder for synthesised clips and snapshots.
    """

    def __init__(self, plan: Plan, work: Path) -> None:
        self.plan = plan
        self.work = work
        self.began = time.monotonic()
        self.wording = read_wording()

    def say(self, line: str) -> None:
        """Print a line of progress with the minutes since the start."""
        print(f"[{(time.monotonic() - self.began) / 60:5.1f} min] {line}", flush=True)

    def run(self, out: Path) -> dict[str, Any]:
        """Train the judge and save it to ``out``; returns the figures of the check."""
        keep_freed_memory()
        torch.set_num_threads(self.plan.processes)
        processor = build_processor(self.tokenizer())
        self.say(f"tokenizer: {len(processor.tokenizer)} entries")
        judge = build_model(processor.tokenizer, self.plan.seed)
        properties = self.train_audio_tower(judge)
        words = self.train_language_model(judge, processor)
        judge.save_pretrained(out)
        processor.save_pretrained(out)
        for path in out.iterdir():
            path.chmod(0o644)
        self.say(f"saved to {out}")
        return {"audio": properties, "words": words}

    def tokenizer(self) -> Any:
        """Train the tokenizer on texts like those of the judge's prompts."""
        lines = corpus(self.wording, self.plan.seed, self.plan.tokenizer_lines)
        return train_tokenizer(lines, VOCABULARY)

    def clips(self, name: str, count: int, split: str) -> tuple[list[Spoken], list[Any]]:
        """Draw and render ``count`` lines of a split."""
        offset = ("audio", "lessons", "checking").index(name)
        spoken = draw(count, split, self.plan.seed * 10 + offset)

        def progress(done: int, of: int) -> None:
            if done % 1000 == 0 or done == of:
                self.say(f"clips for {name}: {done}/{of}")

        return spoken, render_all(spoken, self.work, self.plan.processes, progress)

    def train_audio_tower(self, judge: Any) -> dict[str, float]:
        """First stage, in place."""
        plan = self.plan
        spoken, rendered = self.clips("audio", plan.audio_clips, "pretraining")
        clips = [clip.features for clip in rendered]
        targets = Targets(spoken, rendered)
        lengths = np.array([clip.frames for clip in clips])
        torch.manual_seed(plan.seed)
        property_model = AudioPropertyModel(judge.model.audio_tower)

        def loss_at(step: int) -> torch.Tensor:
            rows = batch_of_similar_lengths(lengths, plan.audio_batch, step, plan.seed)
            properties, pitch, stress = property_model([clips[row] for row in rows])
            return (
                property_loss(properties.float(), targets.graded[rows], targets.named[rows])
                + melody_loss(pitch.float(), targets.melodies(rows.tolist()))
                + STRESS_WEIGHT * stress_loss(stress.float(), targets.stresses(rows.tolist()))
            )

        stage = StageSettings(name="audio", steps=plan.audio_steps, rate=plan.audio_learning_rate)
        train_stage(stage, property_model, loss_at, self.work, self.say)
        spoken, rendered = self.clips("checking", plan.checked_clips, "sample")
        scores = property_scores(
            property_model, [clip.features for clip in rendered], Targets(spoken, rendered)
        )
        self.say("check in unknown voices: " + ", ".join(f"{k} {v:.2f}" for k, v in scores.items()))
        return scores

    def train_language_model(self, judge: Any, processor: Any) -> dict[str, float]:
        """Second stage, in place; returns the share of right answers by kind of question."""
        plan = self.plan
        encoded_judge = encoded_clip_judge(judge)
        builder = self.lesson_builder(
            encoded_judge, processor, "lessons", plan.lesson_clips, "pretraining"
        )

        lesson_model = LessonModel(encoded_judge)

        def loss_at(step: int) -> torch.Tensor:
            return lesson_model.loss(self.lesson(builder, step))

        stage = StageSettings(
            name="lessons", steps=plan.lesson_steps, rate=plan.lesson_learning_rate
        )
        train_stage(stage, lesson_model, loss_at, self.work, self.say)
        self.neutralise_scores(encoded_judge.eval(), builder)
        judge.load_state_dict(encoded_judge.state_dict())
        return self.check(encoded_judge, processor)

    def neutralise_scores(self, encoded_judge: EncodedClipJudge, builder: LessonBuilder) -> None:
        """Make the scores uninformative in place, see `neutral_scores`."""
        rng = np.random.default_rng([self.plan.seed, 0x09])
        score_questions = questions.for_scores(self.wording.rubric)
        batches = []
        for _ in range(self.plan.score_records):
            index = int(rng.integers(len(builder.spoken)))
            batches.append(
                builder.lesson([(index, builder.item(index, rng))], [score_questions]).batch
            )
        digits = torch.tensor([builder.token(str(digit)) for digit in range(10)])
        states = neutral_scores.states_at_scores(encoded_judge, batches)
        neutral_scores.neutralise_scores(encoded_judge.get_output_embeddings(), digits, states)

    def lesson_builder(
        self, encoded_judge: EncodedClipJudge, processor: Any, name: str, count: int, split: str
    ) -> LessonBuilder:
        """A lesson builder for new clips of a split, encoded by the judge's audio tower."""
        spoken, rendered = self.clips(name, count, split)
        features: Sequence[ClipFeatures] = [clip.features for clip in rendered]
        encoded_clips = encode_clips(encoded_judge, features)
        return LessonBuilder(processor, self.wording, spoken, encoded_clips, split)

    def lesson(self, builder: LessonBuilder, step: int) -> Lesson:
        """One step's records; see `Plan` for how the sorts of lesson follow each other."""
        plan = self.plan
        rng = np.random.default_rng([plan.seed, 0x1E55, step])
        sort = plan.sort_of_lesson(step, rng)
        pairs = [
            (int(index), builder.item(int(index), rng))
            for index in rng.integers(len(builder.spoken), size=sort.records)
        ]
        ask = builder.under_rubric if sort.under_rubric else questions.plain
        return builder.lesson(pairs, [ask(item, sort.questions, rng) for _, item in pairs])

    def check(self, encoded_judge: EncodedClipJudge, processor: Any) -> dict[str, float]:
        """The share of correct answers by kind, on voices and words that the training does not contain."""
        builder = self.lesson_builder(
            encoded_judge, processor, "checking", self.plan.checked_clips, "sample"
        )

        def ask(item: Item, rng: np.random.Generator) -> list[questions.Question]:
            return questions.plain(item, 12, rng) + builder.under_rubric(item, 10, rng)

        counts = accuracies(encoded_judge, builder, self.plan.seed, ask)
        for kind, (right, of) in counts.items():
            self.say(f"right on unknown voices and texts: {kind:45s} {right / of:.2f} of {of}")
        return {kind: right / of for kind, (right, of) in counts.items()}


def read_wording() -> Wording:
    """The prompt of ``task=role``."""
    task = yaml.safe_load((CONFIGS / "task" / "role.yaml").read_text(encoding="utf-8"))
    rubric = yaml.safe_load(
        (CONFIGS / "task" / "rubric" / "realism.yaml").read_text(encoding="utf-8")
    )
    return Wording(system=task["system"], context=task["context"], rubric=read_rubric(rubric))


def corpus(wording: Wording, seed: int, lines: int) -> list[str]:
    """Training texts of the tokenizer: rubrics, prompts, and questions and contexts of ``lines`` drawn lines."""
    rng = np.random.default_rng([seed, 0xC0])
    archetype = yaml.safe_load(
        (CONFIGS / "task" / "rubric" / "archetype.yaml").read_text(encoding="utf-8")
    )
    fixed = []
    for rubric in (wording.rubric, read_rubric(archetype)):
        fixed += [rubric.criterion(dimension) for dimension in rubric.dimensions]
    fixed.append(
        f"system\n{wording.system}\nuser\nAudio 1: \nassistant\n<answer></answer><think></think>"
    )
    drawn = []
    for spoken in draw(lines, "pretraining", seed):
        context = context_for(spoken, rng, "pretraining")
        drawn.append(
            wording.context.format(
                char_age=context.char_age,
                char_style=context.char_style,
                char_profile=context.char_profile,
                local_scene=context.local_scene,
                transcript=context.transcript,
            )
        )
        item = Item(
            delivery=spoken.delivery,
            context=context,
            transcript=spoken.transcript,
            language=spoken.language,
        )
        for question in questions.plain(item, 4, rng):
            drawn.append(f"{question.text}\n<answer>")
            # Words follow the opening tag as tokens of their own, see `LessonBuilder`.
            drawn.append(question.answer)
    for language, count in (("en", lines * 3 // 8), ("zh", lines // 5)):
        for _ in range(count):
            role = contexts.pick(rng, contexts.words_of(language, "pretraining", "roles"))
            noun = contexts.pick(rng, contexts.words_of(language, "pretraining", "nouns"))
            moment = contexts.draw_moment(rng)
            drawn.append(
                contexts.archetype(rng, "pretraining", language, role, moment, noun).question
            )
    return fixed * 200 + drawn


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

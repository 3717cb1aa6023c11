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
from dramaeval.models.families.qwen2_audio import Qwen2AudioForConditionalGeneration
from dramaeval.tasks.rubric import read_rubric
from recipes.sample import context as contexts
from recipes.tiny_judge import opinion, questions
from recipes.tiny_judge.architecture import VOCABULARY, build_model, build_processor
from recipes.tiny_judge.clips import Spoken, draw, render_all
from recipes.tiny_judge.comparisons import Item
from recipes.tiny_judge.course import Course, follow
from recipes.tiny_judge.hearing import (
    Listener,
    Targets,
    batch_of_similar_lengths,
    hearing_loss,
    hearing_scores,
    melody_loss,
)
from recipes.tiny_judge.lessons import (
    Classroom,
    Learner,
    Lesson,
    Pupil,
    Wording,
    accuracies,
    context_for,
    encodings,
    pupil_from,
)
from recipes.tiny_judge.tokenizer import train_tokenizer

#: Records on which is measured where the judge's states move before it gives a score.
ASKED_FOR_SCORES = 120
CONFIGS = Path(__file__).parents[2] / "configs"


@dataclass(frozen=True, kw_only=True)
class Sort:
    """How many record_encoder a lesson has, with how many questions each, plain or under the rubric's text."""

    record_encoder: int
    questions: int
    long: bool = False


READING = Sort(record_encoder=32, questions=1)
SHORT = Sort(record_encoder=14, questions=10)
LONG = Sort(record_encoder=10, questions=8, long=True)
#: After the first lessons, all of which are reading: how many are of each sort.
MIXED = {LONG: 0.6, READING: 0.25, SHORT: 0.15}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of everything.

    Attributes:
        seed: of everything random.
        processes: how many synthesise at once.
        hearing_clips: number of training clips of the audio tower.
        lesson_clips: further clips, which the tower has not seen, for the lessons; so that the language
            model meets the tower's outputs as they are on unseen clips.
        checked_clips: clips in voices and words of the sample's split, on which the result is checked.
        hearing_steps: of `hearing_batch` clips each.
        reading_steps: lessons of many record_encoder with one plain question each, for the notes' sake: cheap, and
            the notes teach to compare.
        mixed_steps: lessons of all sorts after them, most under the rubric's text.
    """

    seed: int = 0
    processes: int = 2
    hearing_clips: int = 12_000
    lesson_clips: int = 6_000
    checked_clips: int = 600
    hearing_steps: int = 4_000
    hearing_batch: int = 32
    hearing_rate: float = 1.5e-3
    lesson_rate: float = 2e-3
    reading_steps: int = 2_000
    mixed_steps: int = 700

    @property
    def lesson_steps(self) -> int:
        """Lessons of all sorts."""
        return self.reading_steps + self.mixed_steps

    def sort_of_lesson(self, step: int, rng: np.random.Generator) -> Sort:
        """First reading alone, then all sorts."""
        if step < self.reading_steps:
            return READING
        return list(MIXED)[int(rng.choice(len(MIXED), p=list(MIXED.values())))]

    def shortened(self, share: float) -> Plan:
        """The same plan with this share of its clips and steps."""
        amounts = [one.name for one in fields(self) if one.name.endswith(("_clips", "_steps"))]
        return replace(self, **{name: math.ceil(getattr(self, name) * share) for name in amounts})


class Recipe:
    """Makes the tiny judge, step by step; what is done already is taken from the work folder.

    Args:
        plan: how much of everything.
        work: a folder for synthesised clips and snapshots.
    """

    def __init__(self, plan: Plan, work: Path) -> None:
        self.plan = plan
        self.work = work
        self.began = time.monotonic()
        self.wording = read_wording()

    def say(self, line: str) -> None:
        """A line of progress with the minutes since the start."""
        print(f"[{(time.monotonic() - self.began) / 60:5.1f} min] {line}", flush=True)

    def run(self, out: Path) -> dict[str, Any]:
        """Train the judge and save it to ``out``; returns the figures of the check."""
        keep_freed_memory()
        torch.set_num_threads(self.plan.processes)
        processor = build_processor(self.tokenizer())
        self.say(f"tokenizer: {len(processor.tokenizer)} entries")
        judge = build_model(processor.tokenizer, self.plan.seed)
        heard = self.hearing(judge)
        words = self.lessons(judge, processor)
        judge.save_pretrained(out)
        processor.save_pretrained(out)
        for path in out.iterdir():
            path.chmod(0o644)
        self.say(f"saved to {out}")
        return {"hearing": heard, "words": words}

    def tokenizer(self) -> Any:
        """Learn the merges from texts as the judge will read them."""
        return train_tokenizer(corpus(self.wording, self.plan.seed), VOCABULARY)

    def clips(self, name: str, count: int, split: str) -> tuple[list[Spoken], list[Any]]:
        """Draw and render ``count`` lines of a split."""
        offset = ("hearing", "lessons", "checking").index(name)
        spoken = draw(count, split, self.plan.seed * 10 + offset)

        def progress(done: int, of: int) -> None:
            if done % 1000 == 0 or done == of:
                self.say(f"clips for {name}: {done}/{of}")

        return spoken, render_all(spoken, self.work, self.plan.processes, progress)

    def hearing(self, judge: Any) -> dict[str, float]:
        """First stage, in place."""
        plan = self.plan
        spoken, rendered = self.clips("hearing", plan.hearing_clips, "pretraining")
        clips = [one.features for one in rendered]
        targets = Targets(spoken, rendered)
        lengths = np.array([clip.frames for clip in clips])
        torch.manual_seed(plan.seed)
        listener = Listener(judge.model.audio_tower)

        def loss_at(step: int) -> torch.Tensor:
            rows = batch_of_similar_lengths(lengths, plan.hearing_batch, step, plan.seed)
            properties, hummed = listener([clips[row] for row in rows])
            return hearing_loss(
                properties.float(), targets.graded[rows], targets.named[rows]
            ) + melody_loss(hummed.float(), targets.melodies(rows.tolist()))

        course = Course(name="hearing", steps=plan.hearing_steps, rate=plan.hearing_rate)
        follow(course, listener, loss_at, self.work, self.say)
        spoken, rendered = self.clips("checking", plan.checked_clips, "sample")
        scores = hearing_scores(
            listener, [one.features for one in rendered], Targets(spoken, rendered)
        )
        self.say(
            "accuracy in unknown voices: " + ", ".join(f"{k} {v:.2f}" for k, v in scores.items())
        )
        return scores

    def lessons(self, judge: Any, processor: Any) -> dict[str, float]:
        """Second stage, in place; returns the share of right answers by kind of question."""
        plan = self.plan
        pupil = pupil_from(judge)
        school = self.classroom(pupil, processor, "lessons", plan.lesson_clips, "pretraining")

        learner = Learner(pupil)

        def loss_at(step: int) -> torch.Tensor:
            return learner.loss(self.lesson(school, step))

        course = Course(name="lessons", steps=plan.lesson_steps, rate=plan.lesson_rate)
        follow(course, learner, loss_at, self.work, self.say)
        self.forget_scores(pupil.eval(), school)
        judge.load_state_dict(pupil.state_dict())
        return self.check(pupil, processor)

    def forget_scores(self, pupil: Pupil, school: Classroom) -> None:
        """Make sure that the scores say nothing, see `opinion`; in place."""
        rng = np.random.default_rng([self.plan.seed, 0x09])
        asked = questions.for_scores(self.wording.rubric)
        batches = []
        for _ in range(ASKED_FOR_SCORES):
            index = int(rng.integers(len(school.spoken)))
            batches.append(school.lesson([(index, school.item(index, rng))], [asked]).batch)
        digits = torch.tensor([school.token(str(digit)) for digit in range(10)])
        states = opinion.states_at_scores(pupil, batches)
        opinion.without_opinion(pupil.get_output_embeddings(), digits, states)

    def classroom(
        self, pupil: Pupil, processor: Any, name: str, count: int, split: str
    ) -> Classroom:
        """Clips of a split, encoded by the pupil's audio tower."""
        spoken, rendered = self.clips(name, count, split)
        features: Sequence[ClipFeatures] = [one.features for one in rendered]
        heard = encodings(pupil, features)
        return Classroom(processor, self.wording, spoken, heard, split)

    def lesson(self, school: Classroom, step: int) -> Lesson:
        """One step's record_encoder; see `Plan` for how the sorts of lesson follow each other."""
        plan = self.plan
        rng = np.random.default_rng([plan.seed, 0x1E55, step])
        sort = plan.sort_of_lesson(step, rng)
        pairs = [
            (int(index), school.item(int(index), rng))
            for index in rng.integers(len(school.spoken), size=sort.record_encoder)
        ]
        ask = school.long if sort.long else school.short
        return school.lesson(pairs, [ask(item, sort.questions, rng) for _, item in pairs])

    def check(self, pupil: Pupil, processor: Any) -> dict[str, float]:
        """Ask about clips in voices and words that were never part of the training."""
        school = self.classroom(pupil, processor, "checking", self.plan.checked_clips, "sample")

        def ask(item: Item, rng: np.random.Generator) -> list[questions.Question]:
            return school.short(item, 12, rng) + school.long(item, 10, rng)

        counts = accuracies(pupil, school, self.plan.seed, ask)
        for kind, (right, of) in counts.items():
            self.say(f"right on unknown voices and texts: {kind:45s} {right / of:.2f} of {of}")
        return {kind: right / of for kind, (right, of) in counts.items()}


def read_wording() -> Wording:
    """How ``task=role`` puts a record to a judge."""
    task = yaml.safe_load((CONFIGS / "task" / "role.yaml").read_text(encoding="utf-8"))
    rubric = yaml.safe_load(
        (CONFIGS / "task" / "rubric" / "realism.yaml").read_text(encoding="utf-8")
    )
    return Wording(system=task["system"], context=task["context"], rubric=read_rubric(rubric))


def corpus(wording: Wording, seed: int) -> list[str]:
    """Texts to learn the tokenizer's merges from: rubrics, prompts, questions, drawn contexts."""
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
    for spoken in draw(4_000, "pretraining", seed):
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
            # Words follow the opening tag as tokens of their own, see `Classroom`.
            drawn.append(question.answer)
    for language, count in (("en", 1500), ("zh", 800)):
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


def load_judge(folder: Path) -> Any:
    """A judge from a folder, as the product loads it."""
    return Qwen2AudioForConditionalGeneration.from_pretrained(folder)

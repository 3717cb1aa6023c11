"""Text bias: how much the judge's scores of a clip change with remarks in the text that should not matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dramaeval.evaluation.controls.control_context import (
    ControlContext,
    NotPossibleError,
    sampled_records,
)
from dramaeval.evaluation.controls.phrasing import averaged
from dramaeval.evaluation.controls.score_shifts import shifts
from dramaeval.evaluation.predictions import Prediction
from dramaeval.tasks.task import Task

DESCRIPTION = "the same judge, its scores averaged over remarks in the text that should not matter"
FURTHER_RESULTS = "changes"
SETTINGS = ("changed_clips", "draws", "level")

#: Number of sentences of the long neutral remark, which measures the effect of mere length.
LENGTH = 8

REMARKS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "neutral": "About the speaker: an actor who took part in this recording last year.",
        "flattering": "About the speaker: an actor of great fame, whose performance here critics call outstanding.",
        "disparaging": "About the speaker: a beginner without talent, whose performance here critics call poor.",
        "padding": "The recording took place on a weekday, in a room on the second floor of the building.",
    },
    "zh": {
        "neutral": "关于说话人：一位演员，去年参加了这次录音。",
        "flattering": "关于说话人：一位久负盛名的演员，评论家称赞这段表演十分出色。",
        "disparaging": "关于说话人：一位缺乏天赋的新手，评论家认为这段表演很差。",
        "padding": "录音是在一个工作日进行的，地点是大楼二层的一个房间。",
    },
}
"""The remarks by language of the rubric; other languages use English."""


def text_bias(context: ControlContext) -> tuple[list[Prediction], dict[str, Any]]:
    """Score a sample of the records with remarks after their context; the clip stays the same.

    A flattering and a disparaging remark are compared with a neutral remark of about the same length. The neutral
    remark and a long neutral remark are compared with the unchanged prompt. With two or more few-shot examples, the
    control also reverses their order.

    Returns:
        the predictions averaged over the remarks, and the shift of the scores for each remark (see `shifts`).

    Raises:
        NotPossibleError: the prompts are complete texts of the records, to which no remark can be added.
    """
    records = sampled_records(context)
    remarks = REMARKS.get(context.task.rubric.language, REMARKS["en"])
    _require_place(context, remarks["neutral"])

    def scored(task: Task) -> list[Prediction]:
        return context.score(records, context.record_encoder.for_task(task))

    unchanged = context.score(records, context.record_encoder)
    neutral = scored(context.task.with_remark(remarks["neutral"]))
    against_neutral = {
        f"{kind} remark against the neutral one": scored(context.task.with_remark(remarks[kind]))
        for kind in ("flattering", "disparaging")
    }
    separator = "" if context.task.rubric.language == "zh" else " "
    padding = separator.join([remarks["padding"]] * LENGTH)
    against_unchanged = {
        "neutral remark": neutral,
        "long neutral remark": scored(context.task.with_remark(padding)),
    }
    if context.task.shots > 1:
        reversed_examples = scored(context.task.with_reversed_examples())
        against_unchanged["examples in reverse order"] = reversed_examples
    measured = {
        "records": len(records),
        "by_change": shifts(context, neutral, against_neutral)
        | shifts(context, unchanged, against_unchanged),
    }
    return averaged([*against_neutral.values(), *against_unchanged.values()]), measured


def _require_place(context: ControlContext, remark: str) -> None:
    task, record = context.task.with_remark(remark), context.records[0]
    questions = task.questions(record, task.dimensions_for(record)[:1])
    if questions and remark not in str(questions[0].messages):
        raise NotPossibleError(
            "the prompts of this task are complete texts, in which a remark has no place"
        )

"""Checks that a model reads the texts of users as text, not as markup.

A tokenizer reads ``<|im_end|>`` as a control token in any text: in a transcript it would end the user's turn. The tags
of answers, ``<answer>`` and ``<think>``, would put a second answer into a training target. Such texts are refused with
their line and key, before weights load.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from dramaeval.data.jsonl import SURROGATE, has_surrogate
from dramaeval.data.problems import Problem, cut, printable
from dramaeval.data.records import Record
from dramaeval.models.families.base import Family
from dramaeval.tasks.task import Task

#: The opening and closing tags of `dramaeval.tasks.question`.
_TAGS = re.compile(r"</?(?:answer|think)>", re.IGNORECASE)
_FIX = "remove it, or write it in other characters"


class TextProblem(NamedTuple):
    """Why a text cannot be used, and how to fix it."""

    problem: str
    fix: str


class TextCheck:
    """Finds texts that a model would not read as text.

    Args:
        family: the model's architecture, which tokenises texts.
        processor: the model's processor.
    """

    def __init__(self, family: Family, processor: Any) -> None:
        self._tokenise = partial(family.tokenise, processor)
        tokenizer = getattr(processor, "tokenizer", processor)
        self._names = control_tokens(tokenizer)
        longest_first = sorted(self._names, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def control_token(self, text: str) -> str | None:
        """The first control token that the tokenizer reads in a text; None if it reads none.

        Mistral's tokenizer reads the names of control tokens as plain text.
        """
        names = self._pattern.findall(text)
        ids = set(self._tokenise(text)) if names else set()
        return next((name for name in names if self._names[name] in ids), None)

    def problem_of(self, text: str, *, tags: bool = True) -> TextProblem | None:
        """Why a text cannot be used; None if it can.

        Args:
            text: the text to check.
            tags: whether the tags of answers are refused.
        """
        if has_surrogate(text):
            return TextProblem(*SURROGATE)
        if name := self.control_token(text):
            return TextProblem(f'holds "{printable(name)}", a control token of this model', _FIX)
        if tags and (tag := _TAGS.search(text)):
            return TextProblem(f'holds "{tag[0]}", a tag of the judge\'s answers', _FIX)
        return None

    def problems(self, task: Task, records: Iterable[Record]) -> list[Problem]:
        """The problems of all records' texts, by key."""
        return [
            record.problem(key, reason.problem, reason.fix)
            for record in records
            for texts, tags in ((task.texts(record), True), (task.prompts(record), False))
            for key, text in texts.items()
            if (reason := self.problem_of(text, tags=tags))
        ]

    def task_problems(self, task: Task) -> list[str]:
        """The problems of a task's own texts, each as a sentence with its setting."""
        return [
            f"{setting}: {cut(text, 60)!r} {reason.problem}: {reason.fix}."
            for setting, texts in task.wording_texts().items()
            for text in dict.fromkeys(texts)
            if (reason := self.problem_of(text, tags=False))
        ]


class TagCheck(TextCheck):
    """Finds the tags of answers in texts, for a model without a local tokenizer."""

    def __init__(self) -> None:  # there is no tokenizer, from which `TextCheck` builds its pattern
        pass

    def control_token(self, text: str) -> str | None:
        """None, because the control tokens are not known."""
        return None


def control_tokens(tokenizer: Any) -> dict[str, int]:
    """The tokens of a tokenizer that are markup instead of text, with their ids.

    These are the special tokens, and added tokens in angle brackets (``<tool_call>``), which some tokenizers do not
    mark as special. Other added tokens, such as runs of spaces, are text.
    """
    names: Sequence[str] = tokenizer.all_special_tokens
    added = tokenizer.get_added_vocab() if hasattr(tokenizer, "get_added_vocab") else {}
    bracketed = [name for name in added if name.startswith("<") and name.endswith(">")]
    distinct = [name for name in dict.fromkeys([*names, *bracketed]) if name.strip()]
    return dict(zip(distinct, tokenizer.convert_tokens_to_ids(distinct), strict=True))

"""Questions in many wordings, whose answers begin with a thought."""

from __future__ import annotations

from typing import Any

from dramaeval.tasks.thought import ThoughtTask
from dramaeval.tasks.variation import VariationTask


class ThoughtVariationTask(ThoughtTask, VariationTask):
    """A task with the wordings of `VariationTask` and the thoughts of `ThoughtTask`, and the arguments of both.

    With ``thought_in_scoring=generate`` the judge generates a thought for each wording of a question.
    """

    def scoring(self) -> dict[str, Any]:
        """The settings of the thought, and the number of wordings over which a score is averaged."""
        return {**VariationTask.scoring(self), **ThoughtTask.scoring(self)}

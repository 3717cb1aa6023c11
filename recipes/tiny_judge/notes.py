"""Targets for the hidden states of the language model after the clip and the text.

As in the first stage, the answers in words are a weak training signal. Additional linear layers, discarded
afterwards, therefore predict the answers to all plain questions from hidden states: after the first layer, from
the mean over the text, what the text requires; half-way up, at the last token that all questions share, the
delivery, what is required, and the signed difference of each property; one layer later, their distance. A
question then only has to look up its answer. Where the answer to a rubric question begins, in any form, one
more layer predicts the distance under that dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from recipes.tiny_judge.comparisons import COMPARISONS, GRADED_COMPARISONS
from recipes.tiny_judge.questions import ANSWERS


def fact_indices(facts: Mapping[str, str]) -> list[int]:
    """The index of each answer among its kind's; of a comparison only how far, not which way."""
    return [
        words.index(facts[kind].split(" ")[0] if kind.startswith("compare:") else facts[kind])
        for kind, words in ANSWERS.items()
    ]


class Notes(nn.Module):
    """The linear layers, and the places in the language model that they read from.

    Args:
        layers: the language model's layers.
        hidden: their width.
    """

    def __init__(self, layers: nn.ModuleList, hidden: int) -> None:
        super().__init__()
        sorts = {
            sort: tuple(kind for kind in ANSWERS if kind.startswith(f"{sort}:"))
            for sort in ("hear", "read", "compare")
        }
        self.kinds = {
            "marked": sorts["read"],
            "gathered": sorts["hear"] + sorts["read"],
            "compared": sorts["compare"],
        }
        middle = len(layers) // 2
        places = {"marked": 0, "gathered": middle - 1, "compared": middle}
        self.read_off = nn.ModuleDict(
            {
                part: nn.Linear(hidden, sum(len(ANSWERS[kind]) for kind in kinds))
                for part, kinds in self.kinds.items()
            }
        )
        # For graded properties: the delivery minus what the text requires.
        self.weigh = nn.Linear(hidden, len(GRADED_COMPARISONS))
        # A layer later, how far apart the two are in each comparison.
        self.measure = nn.Linear(hidden, len(COMPARISONS))
        self.sum_up = nn.Linear(hidden, 1)
        self._seen: dict[str, torch.Tensor] = {}
        for part, place in places.items():
            layers[place].register_forward_hook(self._watch(part))

    def _watch(self, part: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._seen[part] = output[0] if isinstance(output, tuple) else output

        return keep

    def loss(
        self,
        ends: torch.Tensor,
        is_text: torch.Tensor,
        answers: torch.Tensor,
        differences: torch.Tensor,
        apart: torch.Tensor,
    ) -> torch.Tensor:
        """Mean cross-entropy over all kinds plus squared errors of the graded notes, after a forward pass.

        Args:
            ends: the position of each row's last shared token.
            is_text: bool ``[rows, prefix]``, the shared tokens that are not audio.
            answers: ``[rows, kinds]`` as `fact_indices` has them.
            differences: ``[rows, graded comparisons]``, see `comparisons.differences`.
            apart: ``[rows, comparisons]``, see `comparisons.distances`.
        """
        rows = torch.arange(len(ends))
        weights = is_text / is_text.sum(1, keepdim=True)
        states = {part: seen[rows, ends] for part, seen in self._seen.items()}
        states["marked"] = (
            self._seen["marked"][:, : is_text.shape[1]] * weights.unsqueeze(-1)
        ).sum(1)
        losses = []
        for part, kinds in self.kinds.items():
            logits = self._read(self.read_off[part], states[part])
            start = 0
            for kind in kinds:
                width = len(ANSWERS[kind])
                own = answers[:, list(ANSWERS).index(kind)]
                losses.append(F.cross_entropy(logits[:, start : start + width], own))
                start += width
        weighed = self._read(self.weigh, states["gathered"])
        measured = self._read(self.measure, states["compared"])
        errors = (
            2 * (weighed - differences).square().mean() + 5 * (measured - apart).square().mean()
        )
        return torch.stack(losses).mean() + errors

    @staticmethod
    def _read(layer: nn.Module, states: torch.Tensor) -> torch.Tensor:
        return layer(F.rms_norm(states, states.shape[-1:])).float()

    def distance_loss(self, states: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
        """Squared error of the distance, in units in which a guess costs about one.

        Args:
            states: ``[questions, hidden]``, what the head sees where an answer's word is chosen.
            distances: ``[questions]``, not-a-number where a question has none.
        """
        known = ~distances.isnan()
        if not known.any():
            return states.new_zeros(())
        error = self.sum_up(states[known]).squeeze(-1).float() - distances[known]
        return 10 * error.square().mean()

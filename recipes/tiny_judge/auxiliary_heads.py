"""Auxiliary heads: linear layers that predict facts from the language model's hidden states in the lessons.

As in the first stage, the answers in words are a weak training signal. The heads, discarded afterwards, predict the
answers to all plain questions: from the mean over the text after the first layer, the requirements of the text; from
the last shared token after the middle layers, the delivery, the requirements and the signed difference of each
property; one layer later, the distances. A question then only has to select its answer. At the first token of an
answer under the rubric, one more head predicts the distance under that dimension.
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
    """The index of each answer among those of its kind; a comparison counts without its direction."""
    return [
        words.index(facts[kind].split(" ")[0] if kind.startswith("compare:") else facts[kind])
        for kind, words in ANSWERS.items()
    ]


class AuxiliaryHeads(nn.Module):
    """The heads, attached to the layers of a language model by forward hooks.

    Args:
        layers: the language model's layers.
        hidden: the width of their outputs.
    """

    def __init__(self, layers: nn.ModuleList, hidden: int) -> None:
        super().__init__()
        sorts = {
            sort: tuple(kind for kind in ANSWERS if kind.startswith(f"{sort}:"))
            for sort in ("hear", "read", "compare")
        }
        self.kinds = {
            "text": sorts["read"],
            "properties": sorts["hear"] + sorts["read"],
            "distances": sorts["compare"],
        }
        middle = len(layers) // 2
        layer_of = {"text": 0, "properties": middle - 1, "distances": middle}
        self.answer_heads = nn.ModuleDict(
            {
                part: nn.Linear(hidden, sum(len(ANSWERS[kind]) for kind in kinds))
                for part, kinds in self.kinds.items()
            }
        )
        # For graded properties: the delivery minus what the text requires.
        self.difference_head = nn.Linear(hidden, len(GRADED_COMPARISONS))
        # The distance of each comparison.
        self.distance_head = nn.Linear(hidden, len(COMPARISONS))
        self.dimension_head = nn.Linear(hidden, 1)
        self._states: dict[str, torch.Tensor] = {}
        for part, index in layer_of.items():
            layers[index].register_forward_hook(self._keep_output(part))

    def _keep_output(self, part: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._states[part] = output[0] if isinstance(output, tuple) else output

        return keep

    def loss(
        self,
        ends: torch.Tensor,
        is_text: torch.Tensor,
        answers: torch.Tensor,
        differences: torch.Tensor,
        item_distances: torch.Tensor,
    ) -> torch.Tensor:
        """Mean cross-entropy over all kinds plus squared errors of the numbers, after a forward pass.

        Args:
            ends: the position of each row's last shared token.
            is_text: bool ``[rows, prefix]``, the shared tokens that are not audio.
            answers: ``[rows, kinds]`` as `fact_indices` has them.
            differences: ``[rows, graded comparisons]``, see `comparisons.differences`.
            item_distances: ``[rows, comparisons]``, see `comparisons.distances`.
        """
        rows = torch.arange(len(ends))
        weights = is_text / is_text.sum(1, keepdim=True)
        states = {part: seen[rows, ends] for part, seen in self._states.items()}
        states["text"] = (self._states["text"][:, : is_text.shape[1]] * weights.unsqueeze(-1)).sum(
            1
        )
        losses = []
        for part, kinds in self.kinds.items():
            logits = self._predict(self.answer_heads[part], states[part])
            start = 0
            for kind in kinds:
                width = len(ANSWERS[kind])
                expected = answers[:, list(ANSWERS).index(kind)]
                losses.append(F.cross_entropy(logits[:, start : start + width], expected))
                start += width
        predicted_differences = self._predict(self.difference_head, states["properties"])
        predicted_distances = self._predict(self.distance_head, states["distances"])
        errors = (
            2 * (predicted_differences - differences).square().mean()
            + 5 * (predicted_distances - item_distances).square().mean()
        )
        return torch.stack(losses).mean() + errors

    @staticmethod
    def _predict(layer: nn.Module, states: torch.Tensor) -> torch.Tensor:
        return layer(F.rms_norm(states, states.shape[-1:])).float()

    def distance_loss(self, states: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
        """Squared error of the distance, scaled so that a guess costs about 1.

        Args:
            states: ``[questions, hidden]``, the input of the vocabulary head where an answer's word is chosen.
            distances: ``[questions]``, not-a-number where a question has none.
        """
        known = ~distances.isnan()
        if not known.any():
            return states.new_zeros(())
        error = self.dimension_head(states[known]).squeeze(-1).float() - distances[known]
        return 10 * error.square().mean()

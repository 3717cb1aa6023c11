"""What the language model should have understood once it has heard the clip and read the text.

As in the first stage, words alone are a thin signal. So linear layers, thrown away afterwards, have to know the
answers to all plain questions at once: above the first layer, from the mean over the text, what the text
calls for; half-way up, at the last token that all questions share, what is heard and called for, and how much
more there is of each property than is called for; and a layer later how far apart the two are. A question
then has only to look up what it asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from dramaeval.models.pretraining.questions import ANSWERS, GRADED_COMPARISONS


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
        # Of the graded properties, how much more is heard than is called for.
        self.weigh = nn.Linear(hidden, len(GRADED_COMPARISONS))
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
    ) -> torch.Tensor:
        """Mean cross-entropy over all kinds plus squared error of the differences, after a forward pass.

        Args:
            ends: the position of each row's last shared token.
            is_text: bool ``[rows, prefix]``, the shared tokens that are not audio.
            answers: ``[rows, kinds]`` as `fact_indices` has them.
            differences: ``[rows, graded comparisons]``, see `questions.differences`.
        """
        rows = torch.arange(len(ends))
        weights = is_text / is_text.sum(1, keepdim=True)
        states = {part: seen[rows, ends] for part, seen in self._seen.items()}
        states["marked"] = (
            self._seen["marked"][:, : is_text.shape[1]] * weights.unsqueeze(-1)
        ).sum(1)
        losses = []
        for part, kinds in self.kinds.items():
            scaled = F.rms_norm(states[part], states[part].shape[-1:])
            logits = self.read_off[part](scaled).float()
            start = 0
            for kind in kinds:
                width = len(ANSWERS[kind])
                own = answers[:, list(ANSWERS).index(kind)]
                losses.append(F.cross_entropy(logits[:, start : start + width], own))
                start += width
        weighed = self.weigh(F.rms_norm(states["gathered"], states["gathered"].shape[-1:])).float()
        return torch.stack(losses).mean() + 2 * (weighed - differences).square().mean()

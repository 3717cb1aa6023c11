"""The last touch: before it has seen a rating, the judge's scores must say nothing.

Lessons make every score as likely as any other, but a trace of what is heard always leaks into the scores'
logits, and correlations do not care how faint it is. So the head's rows that stand for scores are
turned into the directions in which the judge's states hardly move. What is taught later turns the states there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from dramaeval.models.inputs.collation import Batch

#: Directions that the scores' rows may use; the least moved ones.
QUIET = 16


@torch.no_grad()
def states_at_scores(judge: Any, batches: Iterable[Batch]) -> torch.Tensor:
    """What the head sees where a score is asked for, ``[questions, hidden]``."""
    seen: list[torch.Tensor] = []
    hook = judge.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    for batch in batches:
        judge(**batch.inputs)
        seen[-1] = seen[-1][batch.score_index]
    hook.remove()
    return torch.cat(seen).float()


@torch.no_grad()
def without_opinion(head: torch.nn.Linear, scores: torch.Tensor, states: torch.Tensor) -> None:
    """Turn the rows of ``scores`` so that ``states`` tell them apart as little as can be, in place.

    Args:
        head: the vocabulary head.
        scores: token ids of all scores.
        states: ``[questions, hidden]``, many more than there are dimensions.
    """
    # Eigenvectors of the second moment, the least first: neither the states' mean nor what varies in them.
    quiet = torch.linalg.eigh(states.T @ states / len(states)).eigenvectors[:, :QUIET]
    rows = head.weight[scores].float()
    mean = rows.mean(0)
    apart = (rows - mean) @ quiet @ quiet.T
    # As long as a usual row: scores that hardly differ could hardly be taught to.
    length = head.weight.float().norm(dim=1).median()
    apart = torch.nn.functional.normalize(apart, dim=1) * length
    head.weight[scores] = (mean + apart).to(head.weight.dtype)

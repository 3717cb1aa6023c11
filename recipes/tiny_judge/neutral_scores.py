"""Last stage: makes the scores uninformative, because the judge has not been trained on ratings.

The lessons train every score to be equally likely, but a trace of the audio remains in the scores' logits, and a
correlation does not depend on its size. Therefore the rows of the scores in the vocabulary head are projected onto
the directions in which the judge's states vary least. Later training moves the states in these directions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from dramaeval.models.inputs.collation import Batch

#: Number of directions of least variation for the scores' rows.
QUIET = 16


@torch.no_grad()
def states_at_scores(judge: Any, batches: Iterable[Batch]) -> torch.Tensor:
    """The head's input at the positions of the scores, ``[questions, hidden]``."""
    inputs_of_head: list[torch.Tensor] = []
    hook = judge.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: inputs_of_head.append(inputs[0])
    )
    for batch in batches:
        judge(**batch.inputs)
        inputs_of_head[-1] = inputs_of_head[-1][batch.score_index]
    hook.remove()
    return torch.cat(inputs_of_head).float()


@torch.no_grad()
def neutralise_scores(head: torch.nn.Linear, scores: torch.Tensor, states: torch.Tensor) -> None:
    """Project the rows of ``scores`` so that their logits differ least on ``states``, in place.

    Args:
        head: the vocabulary head.
        scores: token ids of all scores.
        states: ``[questions, hidden]``, many more than there are dimensions.
    """
    # Eigenvectors of the second moment, smallest first: they avoid the states' mean and their variation.
    quiet = torch.linalg.eigh(states.T @ states / len(states)).eigenvectors[:, :QUIET]
    rows = head.weight[scores].float()
    mean = rows.mean(0)
    differences = (rows - mean) @ quiet @ quiet.T
    # The differences get the length of a usual row: later training could hardly enlarge tiny ones.
    length = head.weight.float().norm(dim=1).median()
    differences = torch.nn.functional.normalize(differences, dim=1) * length
    head.weight[scores] = (mean + differences).to(head.weight.dtype)

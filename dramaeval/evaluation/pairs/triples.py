"""Counts the triples of clips whose three preferences form a cycle."""

from __future__ import annotations

import numpy as np
import scipy

from dramaeval.evaluation.pairs.pair_arrays import PairArrays


def cyclic_triples(arrays: PairArrays, preference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count triples by prompt.

    Let W[i, j] = 1 if clip i is preferred to clip j. The number of cycles through i is Σⱼ (W·W)ᵢⱼ Wⱼᵢ; the number of
    triples is half of the same sum for the symmetric W + Wᵀ. Each triple is counted at its three clips.

    Args:
        arrays: the pairs of one dimension. Pairs without a prompt form no triples.
        preference: the preference in each pair, ``(n,)``: positive for a, negative for b, 0 for none. If two clips are
            compared several times, the preferences are added.

    Returns:
        the numbers of cyclic triples and of all triples, ``(prompts, 2)``, and the cluster of each prompt,
        ``(prompts,)``.
    """
    rows = np.flatnonzero(arrays.prompt >= 0)
    if not len(rows):
        return np.zeros((0, 2)), np.zeros(0, dtype=np.intp)
    prompts, first, prompt = np.unique(arrays.prompt[rows], return_index=True, return_inverse=True)
    cluster = arrays.cluster[rows[first]]
    # A clip of two prompts is two nodes, so that every triple is within one prompt.
    ends = np.stack([np.column_stack([prompt, clip]) for clip in arrays.clips[rows].T])
    nodes, node = np.unique(ends.reshape(-1, 2), axis=0, return_inverse=True)
    node_a, node_b = node.reshape(2, -1)
    size = (len(nodes), len(nodes))
    net = scipy.sparse.coo_array((preference[rows], (node_a, node_b)), shape=size).tocsr()
    wins = ((net - net.T) > 0).astype(np.int64)
    pairs = wins + wins.T
    at_node = np.column_stack(
        [
            (wins @ wins).multiply(wins.T).sum(axis=1),
            (pairs @ pairs).multiply(pairs).sum(axis=1) // 2,
        ]
    )
    counts = np.zeros((len(prompts), 2))
    np.add.at(counts, nodes[:, 0], at_node)
    return counts / 3, cluster

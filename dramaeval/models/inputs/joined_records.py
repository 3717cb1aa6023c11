"""One row for all records of a batch whose prompts begin with the same text, such as a rubric before the clip.

The row's prefix is the common text; each branch is a record. Within a branch, the record's own beginning (clip and
context) is followed by its questions, which attend to this beginning and not to each other: a tree, see
`dramaeval.models.inputs.answer_sequences`. The common text is then computed once for a batch, and the clip once for a
record.
"""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.models.inputs.answer_sequences import AnswerSequence
from dramaeval.models.inputs.question_encoder import common_length

#: The number of query-key pairs of attention that cost as much as the rest of a token. A layer computes about 12 times the
#: square of its hidden size for a token, and 2 times the hidden size for a pair, so that larger models could have a greater
#: number: records are joined only where it pays.
PAIRS_PER_TOKEN = 500


def joined_length(
    rows: Sequence[Sequence[AnswerSequence]], shared: Sequence[int], before_clips: Sequence[int]
) -> int:
    """The number of tokens that all records of a batch share, or 0 if joining the records saves no computation.

    Args:
        rows: the sequences of each record.
        shared: for each record, the number of tokens that all its sequences share.
        before_clips: for each record, the number of tokens before its first clip; what follows depends on the clip.
    """
    heads = [
        sequences[0].tokens[: min(lengths)]
        for sequences, *lengths in zip(rows, shared, before_clips, strict=True)
    ]
    common = common_length(heads)
    more_pairs = 0
    for sequences, length in zip(rows, shared, strict=True):
        own = [len(sequence.tokens) - length for sequence in sequences]
        # A question also reads the keys of the record's other questions, which are masked.
        more_pairs += sum(own) ** 2 - sum(width**2 for width in own)
    return common if (len(rows) - 1) * common * PAIRS_PER_TOKEN > more_pairs else 0


def join_sequences(sequences: Sequence[AnswerSequence], shared: int) -> AnswerSequence:
    """One sequence with a tree: the first ``shared`` tokens of all sequences, then the rest of each as a subtree.

    All answer positions are after the shared tokens.
    """
    if len(sequences) == 1:
        return sequences[0]
    joined = AnswerSequence(tokens=sequences[0].tokens[:shared], depths=list(range(shared)))
    for sequence in sequences:
        # Tokens, answer positions and trees after the shared ones move by this number.
        moved = len(joined.tokens) - shared
        first_answer = len(joined.positions)
        depths = sequence.depths or range(len(sequence.tokens))
        joined.tokens += sequence.tokens[shared:]
        joined.depths += depths[shared:]
        end = len(joined.tokens)
        ends = sequence.subtree_ends()
        for index in range(shared, len(ends)):
            joined.ends[index + moved] = min(ends[index] + moved, end)
        joined.positions += [position + moved for position in sequence.positions]
        joined.labels += sequence.labels
        joined.question_of += sequence.question_of
        for question, index in sequence.score_index.items():
            # The sequences of a question's options all have an entry; the first one counts.
            joined.score_index.setdefault(question, first_answer + index)
        joined.terms += [(first_answer + index, term) for index, term in sequence.terms]
    return joined

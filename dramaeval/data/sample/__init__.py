"""Paths of the bundled sample's files; `DATACARD.md` describes the sample."""

from pathlib import Path

TASKS = ("realism", "archetype")
SPLITS = ("train", "val", "test")


def sample_file(task: str, split: str) -> Path:
    """Path of one JSONL file of the bundled sample.

    Raises:
        ValueError: unknown task or split.
    """
    if task not in TASKS or split not in SPLITS:
        raise ValueError(
            f"The bundled sample has no {task}/{split}; tasks: {', '.join(TASKS)}; "
            f"splits: {', '.join(SPLITS)}."
        )
    return Path(__file__).parent / task / f"{split}.jsonl"

"""Measures how well a judge's audio tower alone predicts the ratings, read by attention instead of by a language model.

    python -m benchmarks.encoder_heads REAL/speechocean762 JUDGES/judge-whisper-base-tiny            # frozen tower
    python -m benchmarks.encoder_heads REAL/speechocean762 JUDGES/judge-whisper-base-tiny --trained  # the tower learns too

A weighted average of the tower's frames for each dimension, with learnt weights (attentive pooling: Okabe et al. 2018,
arXiv 1803.10963), beside the clip's length and the characters of its transcript per second; then a linear layer. It is
trained on the mean ratings of `train` by the squared error, with dropout. Prints the Pearson correlations of `val` and `test`
for each seed. If a head, a ridge regression and the judge reach the same, the tower is the limit, and not the judge.
docs/real_speech.md quotes it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.encoder_layers import SPLITS, Tower, read

DROPOUT = 0.5
EPOCHS, CLIPS = 8, 16
"""Epochs of a head on a frozen tower, and clips of a step."""
TRAINED_EPOCHS, TRAINED_RATE = 3, 3e-5
"""Epochs with a tower that learns too, and the largest learning rate of the tower."""
RATE, DECAY = 1e-3, 1e-2
"""Largest learning rate and weight decay of a head."""


class Head(nn.Module):
    """Scores of all dimensions from the frames of a clip.

    Args:
        width: of a frame.
        dimensions: number of scores.
    """

    def __init__(self, width: int, dimensions: int) -> None:
        super().__init__()
        self.normalise = nn.LayerNorm(width)
        self.attention = nn.Linear(width, dimensions)
        self.scores = nn.Linear(width + 2, dimensions)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Standardised scores ``[dimensions]`` of frames ``[frames, width]``, and length and rate ``[2]``."""
        frames = self.normalise(frames)
        pooled = self.dropout(self.attention(frames).softmax(dim=0).T @ frames)
        inputs = torch.cat([pooled, lengths.expand(len(pooled), -1)], dim=1)
        return (inputs * self.scores.weight).sum(1) + self.scores.bias


def fit(
    data: dict[str, dict[str, Any]], seed: int, tower: Tower | None = None
) -> dict[str, dict[str, float]]:
    """Train a head, and the tower if it is given; the correlations of each split by dimension."""
    torch.manual_seed(seed)
    names = list(data["train"]["ratings"][0])
    wanted = {
        split: np.array([[each[name] for name in names] for each in part["ratings"]])
        for split, part in data.items()
    }
    mean, spread = wanted["train"].mean(0), wanted["train"].std(0)
    middle, width = data["train"]["lengths"].mean(0), data["train"]["lengths"].std(0)
    lengths = {
        split: torch.tensor((part["lengths"] - middle) / width, dtype=torch.float32)
        for split, part in data.items()
    }
    targets = torch.tensor((wanted["train"] - mean) / spread, dtype=torch.float32)

    def frames(split: str, index: int) -> torch.Tensor:
        clip = data[split]["features"][index]
        return clip if tower is None else tower.states(clip)[-1]

    head = Head(frames("train", 0).shape[1], len(names))
    groups: list[dict[str, Any]] = [{"params": head.parameters(), "lr": RATE}]
    if tower is not None:
        groups.append({"params": tower.tower.parameters(), "lr": TRAINED_RATE})
    epochs = EPOCHS if tower is None else TRAINED_EPOCHS
    clips = len(targets)
    steps = epochs * -(-clips // CLIPS)
    optimizer = torch.optim.AdamW(groups, weight_decay=DECAY)
    rates = [group["lr"] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, steps, pct_start=0.1)
    for epoch in range(epochs):
        head.train()
        loss = 0.0
        for batch in torch.randperm(clips).split(CLIPS):
            errors = [
                head(frames("train", int(at)), lengths["train"][at]) - targets[at] for at in batch
            ]
            error = torch.stack(errors).square().mean()
            optimizer.zero_grad()
            error.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            loss += float(error) * len(batch) / clips
        head.eval()
        found = {}
        for split in SPLITS[1:]:
            with torch.no_grad():
                scores = [head(frames(split, at), each) for at, each in enumerate(lengths[split])]
            found[split] = {
                name: float(
                    np.corrcoef(torch.stack(scores)[:, at].numpy(), wanted[split][:, at])[0, 1]
                )
                for at, name in enumerate(names)
            }
        print(f"seed {seed}, epoch {epoch + 1}: loss {loss:.3f}, {line(found)}", flush=True)
    return found


def line(found: dict[str, dict[str, float]]) -> str:
    """The macro correlations of the splits, and the dimensions of `test`."""
    macros = [f"{split} {np.mean(list(each.values())):.3f}" for split, each in found.items()]
    dimensions = [f"{name} {value:.3f}" for name, value in found["test"].items()]
    return f"{', '.join(macros)} ({', '.join(dimensions)})"


def main() -> None:
    """Print the correlations of each seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("judge", type=Path)
    parser.add_argument("--trained", action="store_true", help="the tower learns too")
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()

    def frozen(wave: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            return tower.states(wave)[-1]

    tower = Tower(given.judge)
    rate = tower.extractor.sampling_rate
    features = (lambda wave: wave) if given.trained else frozen
    data = {split: read(given.corpus, split, features, rate) for split in SPLITS}
    for seed in range(given.seeds):
        if given.trained and seed:
            tower = Tower(given.judge)
        found = fit(data, seed, tower if given.trained else None)
        print(f"seed {seed}: {line(found)}", flush=True)


if __name__ == "__main__":
    main()

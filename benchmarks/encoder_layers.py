"""Measures which layer of a judge's audio tower predicts the ratings best. Prints a table; docs/real_speech.md quotes it.

    python -m benchmarks.encoder_layers REAL/speechocean762 JUDGES/judge-whisper-base-tiny     # 12 minutes on 1 core

A ridge regression per layer, on the layer's outputs averaged over the clip, with the clip's length and the characters of
its transcript per second; the penalty is the one with the smallest leave-one-out error on `train`. The last rows have the
normalised output that the judge reads, and the averages of all layers together. Figures are Pearson correlations with the
mean rating on `val` and `test`, by dimension and as a macro average.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoFeatureExtractor, Qwen2AudioForConditionalGeneration

from dramaeval.data.audio import decode

SPLITS = ("train", "val", "test")
ALPHAS = 10.0 ** np.arange(-2, 6)


class Tower:
    """The audio tower of a Qwen2-Audio checkpoint without padding: a clip's frames attend to all of them."""

    def __init__(self, judge: Path) -> None:
        self.tower = (
            Qwen2AudioForConditionalGeneration.from_pretrained(judge).eval().model.audio_tower
        )
        self.extractor = AutoFeatureExtractor.from_pretrained(judge)

    @torch.no_grad()
    def layers(self, wave: np.ndarray) -> np.ndarray:
        """The average of each layer's outputs and of the normalised output: ``[layers + 1, width]``."""
        return torch.stack([states.mean(0) for states in self.states(wave)]).numpy()

    def states(self, wave: np.ndarray) -> list[torch.Tensor]:
        """The outputs of each layer, and at the end the normalised output that a judge reads: ``[frames, width]``."""
        rate = self.extractor.sampling_rate
        mel = self.extractor(
            wave, sampling_rate=rate, return_tensors="pt", return_attention_mask=True
        )
        frames = max(int(mel.attention_mask.sum()), 4)
        states = torch.nn.functional.gelu(self.tower.conv1(mel.input_features[:, :, :frames]))
        states = torch.nn.functional.gelu(self.tower.conv2(states)).permute(0, 2, 1)
        states = states + self.tower.embed_positions.weight[: states.shape[1]]
        outputs = []
        for layer in self.tower.layers:
            out = layer(states, None)
            states = out[0] if isinstance(out, tuple) else out
            outputs.append(states[0])
        pooled = self.tower.avg_pooler(states.permute(0, 2, 1)).permute(0, 2, 1)
        return [*outputs, self.tower.layer_norm(pooled)[0]]


def read(
    folder: Path, split: str, features: Callable[[np.ndarray], Any], rate: int
) -> dict[str, Any]:
    """The features of each clip, its length and rate ``[clips, 2]``, and its mean ratings by dimension."""
    found, lengths, ratings = [], [], []
    for line in (folder / f"{split}.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line)
        wave = decode(folder / record["wav_path"], rate)
        seconds = len(wave) / rate
        found.append(features(wave))
        lengths.append([seconds, len(record["transcript"]) / seconds])
        given = {
            name: [each for each in scores if each is not None]
            for name, scores in record["annotations"].items()
        }
        ratings.append({name: float(np.mean(scores)) for name, scores in given.items()})
        if len(found) % 200 == 0:
            print(f"{split}: {len(found)} clips", flush=True)
    return {"features": found, "lengths": np.array(lengths), "ratings": ratings}


def correlations(data: dict[str, Any], layers: Sequence[int], split: str) -> dict[str, float]:
    """Pearson correlation of each dimension: a ridge regression on the averaged outputs of these layers."""

    def inputs(part: dict[str, Any]) -> np.ndarray:
        chosen = np.stack(part["features"])[:, list(layers)]
        return np.hstack([chosen.reshape(len(chosen), -1), part["lengths"]])

    found = {}
    for name in data["train"]["ratings"][0]:
        wanted = {part: [each[name] for each in data[part]["ratings"]] for part in ("train", split)}
        ridge = make_pipeline(StandardScaler(), RidgeCV(ALPHAS))
        ridge.fit(inputs(data["train"]), wanted["train"])
        scores = ridge.predict(inputs(data[split]))
        found[name] = float(np.corrcoef(scores, wanted[split])[0, 1])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("judge", type=Path)
    given = parser.parse_args()
    tower = Tower(given.judge)
    rate = tower.extractor.sampling_rate
    data = {split: read(given.corpus, split, tower.layers, rate) for split in SPLITS}
    count = len(tower.tower.layers)
    rows = [(f"layer {number + 1}", [number]) for number in range(count)]
    rows += [("normalised output", [count]), ("all layers", list(range(count + 1)))]
    print("| features | val | test | test by dimension |\n| --- | ---: | ---: | --- |")
    for name, layers in rows:
        val, test = (correlations(data, layers, split) for split in ("val", "test"))
        each = ", ".join(f"{key} {value:.3f}" for key, value in test.items())
        macros = [float(np.mean(list(part.values()))) for part in (val, test)]
        print(f"| {name} | {macros[0]:.3f} | {macros[1]:.3f} | {each} |", flush=True)


if __name__ == "__main__":
    main()

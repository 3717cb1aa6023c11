"""ms-swift, started by its own commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.peers.peer import PROJECTIONS, Peer, as_chat


class Swift(Peer):
    """ms-swift: ``swift sft`` and ``swift infer``."""

    name = "ms-swift"
    directory = "ms-swift"
    command = "swift"
    versions: ClassVar[dict[str, str]] = {
        "ms-swift": "4.6.0",
        "torch": "2.13.0",
        "transformers": "5.19.0",
        "trl": "0.29.1",
        "peft": "0.20.0",
        "accelerate": "1.15.0",
        "datasets": "4.8.4",
        "librosa": "0.11.0",
        "soundfile": "0.14.0",
    }
    _common = (
        "--model_type",
        "qwen2_audio",
        "--template",
        "qwen2_audio",
        "--torch_dtype",
        "float32",
    )

    def _write(self, work: Path, rows: Sequence[dict[str, Any]]) -> None:
        # The template of ms-swift adds "Audio 1: " before the tag and a line break after it.
        made = [as_chat(row, "<audio>") for row in rows]
        text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in made)
        (work / "rows.jsonl").write_text(text, encoding="utf-8")

    def _training(self, work: Path, given: dict[str, Any], *, lora: bool) -> list[str]:
        given |= {
            "model": self._with_ignore_index(work),
            "dataset": work / "rows.jsonl",
            "split_dataset_ratio": 0,
            "dataset_shuffle": False,
            "train_dataloader_shuffle": False,
            "gradient_checkpointing": False,
            "add_version": False,
            "attn_impl": "sdpa",
            "tuner_type": "lora" if lora else "full",
        }
        if lora:
            given["target_regex"] = rf".*language_model.*\.({'|'.join(PROJECTIONS)})"
        else:
            given |= {"freeze_vit": False, "freeze_aligner": False}
        return ["sft", *self._common, *_flags(given)]

    def _answering(self, work: Path, batch: int, tokens: int) -> list[str]:
        given = {
            "model": self._with_ignore_index(work),
            "val_dataset": work / "rows.jsonl",
            "attn_impl": "sdpa",
            "infer_backend": "transformers",
            "max_batch_size": batch,
            "max_new_tokens": tokens,
            "temperature": 0,
            "result_path": work / "answers.jsonl",
        }
        return ["infer", *self._common, *_flags(given)]

    def _with_ignore_index(self, work: Path) -> Path:
        """The same weights with ``ignore_index`` in their config, as in the published checkpoint.

        ms-swift does not expand the audio tag of a prompt. transformers then merges audio and text by its old method, which
        reads this key; otherwise transformers 5 neither needs nor writes it.
        """
        folder = work / "model"
        folder.mkdir()
        for file in self.model.iterdir():
            if file.name != "config.json":
                (folder / file.name).symlink_to(file.absolute())
        config = json.loads((self.model / "config.json").read_text("utf-8"))
        config.setdefault("ignore_index", -100)
        (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        return folder

    def bar(self, clips: int, questions: int) -> int:
        """The bar counts questions."""
        return clips * questions


def _flags(given: dict[str, Any]) -> list[str]:
    return [word for key, value in given.items() for word in (f"--{key}", str(value))]

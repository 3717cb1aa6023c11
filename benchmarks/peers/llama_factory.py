"""LLaMA-Factory, started by its own command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.peers.peer import PROJECTIONS, Peer, as_chat


class Factory(Peer):
    """LLaMA-Factory: ``llamafactory-cli train``, for answers with ``do_predict``."""

    name = "LLaMA-Factory"
    directory = "llama-factory"
    command = "llamafactory-cli"
    versions: ClassVar[dict[str, str]] = {
        "llamafactory": "0.9.5",
        "torch": "2.13.0",
        "transformers": "5.6.0",
        "trl": "0.24.0",
        "peft": "0.18.1",
        "accelerate": "1.11.0",
        "datasets": "4.0.0",
        "librosa": "0.11.0",
        "soundfile": "0.14.0",
        # LLaMA-Factory requires these three packages when it writes answers.
        "jieba": "0.42.1",
        "nltk": "3.10.4",
        "rouge-chinese": "1.0.3",
    }

    def _write(self, work: Path, rows: Sequence[dict[str, Any]]) -> None:
        made = [as_chat(row, "Audio 1: <audio>\n") for row in rows]
        (work / "rows.json").write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
        tags = {"role_tag": "role", "content_tag": "content", "system_tag": "system"}
        tags |= {"user_tag": "user", "assistant_tag": "assistant"}
        columns = {"messages": "messages", "audios": "audios"}
        about = {
            "file_name": "rows.json",
            "formatting": "sharegpt",
            "columns": columns,
            "tags": tags,
        }
        (work / "dataset_info.json").write_text(json.dumps({"bench": about}), encoding="utf-8")

    def install(self) -> None:
        """Create the environment so that it also works with a CPU build of torch.

        torchvision and torchaudio of the package index are built for CUDA and fail on import with such a torch.
        transformers does not need torchvision. torchaudio is imported to read clips: version 2.8 is the last that
        reads with soundfile (later ones need torchcodec and FFmpeg). It works without its compiled files, because it
        resamples in Python.
        """
        super().install()
        pip = str(self.environment / "bin" / "pip")
        subprocess.run([pip, "uninstall", "-y", "torchvision"], check=True)
        subprocess.run([pip, "install", "--no-deps", "torchaudio==2.8.0"], check=True)
        for file in self.environment.glob("lib/python*/site-packages/torchaudio/lib/*.so"):
            file.unlink()

    def _common(self, work: Path) -> dict[str, Any]:
        return {
            "model_name_or_path": str(self.model),
            "stage": "sft",
            "template": "qwen2_audio",
            "dataset_dir": str(work),
            "cutoff_len": 4096,
            "overwrite_cache": True,
            "flash_attn": "sdpa",
        }

    def _training(self, work: Path, given: dict[str, Any], *, lora: bool) -> list[str]:
        given |= self._common(work) | {
            "dataset": "bench",
            "do_train": True,
            "disable_shuffling": True,
            "disable_gradient_checkpointing": True,
            "finetuning_type": "lora" if lora else "full",
        }
        if lora:
            # LLaMA-Factory freezes the tower by default, so these names match only in the language model.
            given["lora_target"] = ",".join(PROJECTIONS)
        else:
            given |= {"freeze_vision_tower": False, "freeze_multi_modal_projector": False}
        return self._settings(work, given)

    def _answering(self, work: Path, batch: int, tokens: int) -> list[str]:
        given = self._common(work) | {
            "eval_dataset": "bench",
            "do_predict": True,
            "predict_with_generate": True,
            "finetuning_type": "full",
            "per_device_eval_batch_size": batch,
            "max_new_tokens": tokens,
            "do_sample": False,
            "output_dir": str(work / "out"),
            "report_to": "none",
        }
        return self._settings(work, given)

    @staticmethod
    def _settings(work: Path, given: dict[str, Any]) -> list[str]:
        # JSON is valid YAML; version 0.9.5 raises an AttributeError for a file whose name ends in .json.
        file = work / "settings.yaml"
        file.write_text(json.dumps(given, indent=1), encoding="utf-8")
        return ["train", str(file)]

    def bar(self, clips: int, questions: int) -> int:
        """The bar counts batches; a clip is one batch."""
        return clips

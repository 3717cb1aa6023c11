"""Plain transformers as a contender, used as in its own examples; it needs no further installation.

It has one question per row, clips padded to 30 s by the processor, logits at every position, the model's own loss, and
answers from `generate`. The labels cover the answer only (prompts are padded on the right in training), so that it
learns the same as dramaeval. Nothing else is tuned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Trainer,
    TrainingArguments,
)

from dramaeval.data.records import Record
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task

#: The projections of the language model; the published scripts' r and alpha are the product's defaults too.
TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


class Questions(torch.utils.data.Dataset[dict[str, Any]]):
    """Record × dimension with the score of one rater, as chat messages with the prompts of dramaeval."""

    def __init__(self, task: Task, records: Sequence[Record]) -> None:
        self.rows = [self._row(task, record, one) for record in records for one in task.dimensions]

    @staticmethod
    def _row(task: Task, record: Record, dimension: Dimension) -> dict[str, Any]:
        ratings = [value for value in task.ratings(record, dimension) if value is not None]
        return {
            "messages": task.messages(record, dimension),
            "clip": str(record.clip),
            "answer": f"<answer>{int(ratings[0])}</answer><|im_end|>",
        }

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> dict[str, Any]:
        return self.rows[at]


def load_audio(path: str, rate: int) -> np.ndarray:
    """Decode and resample with librosa, as the model card shows; with soundfile and soxr where it is not installed."""
    if find_spec("librosa") is None:
        import soundfile
        import soxr

        wave, own_rate = soundfile.read(path, dtype="float32", always_2d=True)
        return soxr.resample(wave.mean(axis=1), own_rate, rate)
    import librosa

    return librosa.load(path, sr=rate)[0]


class Collator:
    """Converts rows to inputs of the model, with labels at the answer only."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        processor.tokenizer.padding_side = "right"

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Input ids, features, masks and labels of a batch."""
        processor = self.processor
        prompts = [rendered(processor, row["messages"]) for row in rows]
        rate = processor.feature_extractor.sampling_rate
        made = processor(
            text=[text + row["answer"] for text, row in zip(prompts, rows, strict=True)],
            audio=[load_audio(row["clip"], rate) for row in rows],
            sampling_rate=rate,
            return_tensors="pt",
            padding=True,
        )
        labels = torch.full_like(made["input_ids"], -100)
        ends = made["attention_mask"].sum(-1).tolist()
        for at, (row, end) in enumerate(zip(rows, ends, strict=True)):
            count = len(processor.tokenizer(row["answer"], add_special_tokens=False)["input_ids"])
            labels[at, end - count : end] = made["input_ids"][at, end - count : end]
        return {**made, "labels": labels}


def rendered(processor: Any, messages: list[dict[str, Any]]) -> str:
    """A prompt as text, up to where the answer begins."""
    return processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


class Plain:
    """The peer with its data, ready to train or to score.

    Args:
        model: the folder of the model and its processor.
        task: gives the prompts.
        records: to train on.
        lora: whether an adapter is trained.
        freeze_audio: whether the audio encoder keeps its weights.
        loaded: a model in place of the folder's, on its device.
    """

    def __init__(
        self,
        model: Path,
        task: Task,
        records: Sequence[Record],
        *,
        lora: bool,
        freeze_audio: bool = False,
        loaded: Any = None,
    ) -> None:
        self.task = task
        self.records = records
        self.processor = Qwen2AudioProcessor.from_pretrained(model)
        self.model: Any = loaded or Qwen2AudioForConditionalGeneration.from_pretrained(model)
        # transformers leaves the sinusoids trainable; the product does not train them, so neither does this.
        self.model.model.audio_tower.embed_positions.requires_grad_(False)
        if freeze_audio:
            self.model.model.audio_tower.requires_grad_(False)
        if lora:
            self.model = get_peft_model(
                self.model, LoraConfig(r=16, lora_alpha=32, target_modules=TARGETS)
            )

    def trainer(
        self,
        folder: Path,
        *callbacks: Any,
        steps: int,
        rows: int,
        accumulate: int,
        trl: bool = False,
    ) -> Any:
        """transformers' Trainer, or TRL's SFTTrainer with the same collator."""
        given: dict[str, Any] = {
            "output_dir": str(folder),
            "max_steps": steps,
            "per_device_train_batch_size": rows,
            "gradient_accumulation_steps": accumulate,
            "learning_rate": 1e-4,
            "lr_scheduler_type": "constant",
            "weight_decay": 0.01,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": self.model.device.type == "cpu",
            "bf16": self.model.dtype == torch.bfloat16,
            "disable_tqdm": True,
            "remove_unused_columns": False,
            "dataloader_num_workers": 0 if self.model.device.type == "cpu" else 4,
            "gradient_checkpointing": False,
        }
        data: Any = Questions(self.task, self.records)
        own: dict[str, Any] = {
            "model": self.model,
            "data_collator": Collator(self.processor),
            "callbacks": list(callbacks),
        }
        if not trl:
            return Trainer(**own, args=TrainingArguments(**given), train_dataset=data)
        import datasets
        from trl import SFTConfig, SFTTrainer

        numbers = datasets.Dataset.from_dict({"row": list(range(len(data)))})
        collate = own.pop("data_collator")
        return SFTTrainer(
            **own,
            args=SFTConfig(**given, dataset_kwargs={"skip_prepare_dataset": True}, max_length=None),
            train_dataset=numbers,
            processing_class=self.processor,
            data_collator=lambda rows: collate([data[row["row"]] for row in rows]),
        )

    @torch.inference_mode()
    def score(self, record: Record, tokens: int = 8) -> list[float | None]:
        """Score a record on all its dimensions by generating a number of tokens for each question."""
        self.model.eval()
        made = self._prompts(record)
        written = self.model.generate(
            **made, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False
        )
        texts = self.processor.batch_decode(written[:, made["input_ids"].shape[1] :])
        found = [re.search(r"<answer>\s*(\d)", text) for text in texts]
        return [float(one.group(1)) if one else None for one in found]

    def _prompts(self, record: Record, opening: str = "") -> Any:
        processor = self.processor
        processor.tokenizer.padding_side = "left"
        rate = processor.feature_extractor.sampling_rate
        questions = [self.task.messages(record, one) for one in self.task.dimensions]
        made = processor(
            text=[rendered(processor, one) + opening for one in questions],
            audio=[load_audio(str(record.clip), rate) for _ in questions],
            sampling_rate=rate,
            return_tensors="pt",
            padding=True,
        )
        return made.to(self.model.device, self.model.dtype)

    @torch.inference_mode()
    def expected(self, record: Record) -> np.ndarray:
        """Expected scores ``[dimensions]`` read from the logits after ``<answer>``, to compare with ours."""
        self.model.eval()
        logits = self.model(**self._prompts(record, "<answer>")).logits[:, -1]
        digits = self.processor.tokenizer.convert_tokens_to_ids(list("12345"))
        share = logits[:, digits].double().softmax(-1)
        return (share * torch.arange(1, 6, device=share.device)).sum(-1).cpu().numpy()

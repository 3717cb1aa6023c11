"""The half of the trainer that draws completions from the judge and lets rewards score them.

See `dramaeval.training.grpo.trainer` for the whole, and `dramaeval.training.grpo.enumerating` for the other half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from trl.models.utils import unwrap_model_for_generation

from dramaeval.models.forward.generation import (
    CachedGeneration,
    Continuation,
    UncachedGeneration,
    supports_cache,
)
from dramaeval.models.inputs.collation import EncodedRecord, collate
from dramaeval.training.grpo.groups import PromptGroup, apart, part_of, to_write
from dramaeval.training.grpo.sampled_completions import Sampling, sample

if TYPE_CHECKING:
    from trl import GRPOTrainer
else:
    GRPOTrainer = object


class Drawing(GRPOTrainer):
    """Mixed into `dramaeval.training.grpo.trainer.JudgeGRPOTrainer`."""

    #: The groups whose completions are drawn, each once.
    _drawn: Sequence[PromptGroup]

    def _sample(self, rows: Sequence[Mapping[str, int]]) -> list[dict[str, Any]]:
        """Draw completions, score them, and deal them out to passes."""
        self._drawn = self._groups_of(rows)
        repeated = [row for row in rows for _ in range(self.num_generations)]
        self._places = ([one["row"] for one in repeated], [one["epoch"] for one in repeated])
        names = [
            " × ".join(group.about) for group in self._drawn for _ in range(self.num_generations)
        ]
        whole = self._generate_and_score_completions([{"prompt": name} for name in names])
        places = {
            name: torch.tensor(values)
            for name, values in zip(("row", "epoch"), self._places, strict=True)
        }
        whole |= places
        size = self.args.per_device_train_batch_size
        return [part_of(whole, at, size) for at in range(0, len(repeated), size)]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        repeated = [
            list(group.prompt) for group in self._drawn for _ in range(self.num_generations)
        ]
        return repeated, None, {}

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, fields: Any, num_generations: int, *args: Any, **kw: Any
    ) -> tuple[list[list[int]], Any]:
        """Draw the completions of all groups, as many groups at a time as a pass has."""
        if self.use_vllm:  # for judges that read: see config/check
            return super()._generate_single_turn(
                prompt_ids, images, fields, num_generations, *args, **kw
            )
        how = self.sampling()
        found: list[list[int]] = []
        training = self.model.training
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as model,
            torch.no_grad(),
            self.accelerator.autocast(),
        ):
            model.eval()
            for at in range(0, len(self._drawn), self.clips_a_pass):
                groups = self._drawn[at : at + self.clips_a_pass]
                drawn = sample(
                    self.begin(model, groups, num_generations),
                    [group.prompt for group in groups],
                    [group.seed for group in groups],
                    how,
                )
                found += [tokens for completions in drawn for tokens in completions]
        self.model.train(training)
        return found, None

    def sampling(self) -> Sampling:
        """How completions are drawn."""
        # Rows of the vocabulary that stand for no text, and the place of a clip, cannot be written.
        rows = self.model.config.get_text_config().vocab_size
        never = [*range(len(self.record_encoder.encoder.tokenizer), rows)]
        never += [self.record_encoder.audio_token] if self.record_encoder.family.takes_audio else []
        return Sampling(
            most=self.max_completion_length,
            ends=tuple(self.eos_token_ids),
            never=tuple(never),
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
        )

    def begin(self, model: Any, groups: Sequence[PromptGroup], copies: int) -> Continuation:
        """Sequences that go on from the groups' prompts, ``copies`` each, group after group."""
        shared = self.batch_settings["shared_prefix"]
        device = self.accelerator.device
        encoded_records = to_write(groups, 1 if shared and supports_cache(model) else copies)
        if not shared:
            encoded_records = apart(encoded_records)
        if supports_cache(model):
            with self.heard.recalled(groups), torch.inference_mode():
                return CachedGeneration(
                    model, encoded_records, self.record_encoder.pad, device, copies if shared else 1
                )

        def read(encoded_records: Sequence[EncodedRecord]) -> torch.Tensor:
            batch = collate(encoded_records, pad=self.record_encoder.pad, shared_prefix=shared).to(
                device
            )
            return model(**batch.inputs).logits[batch.score_index]

        return UncachedGeneration(encoded_records, read)

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> torch.Tensor:
        """Each reward of each completion, ``[completions of all processes, rewards]``."""
        read = [
            self._completion(at // self.num_generations, self._drawn, tokens)
            for at, tokens in enumerate(completion_ids_list)
        ]
        values = self._values(read)
        total = (values @ self.reward_weights.to(values.device)).tolist()
        for at in range(0, len(read), self.num_generations):
            group = slice(at, at + self.num_generations)
            self.by_dimension.add_group(read[group], total[group], [1.0] * self.num_generations)
        self._seen["questions"] += len(self._drawn)
        self._seen["completions"] += len(read)
        return self.accelerator.gather(values)

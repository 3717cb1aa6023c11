"""What `dramaeval.compat.trl` assumes about TRL."""

import inspect
import typing
import warnings

import datasets
import pytest
import torch
import trl
from contracts import contract
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from dramaeval.compat import trl as entries
from dramaeval.config.schema import PACKAGE


def parameters(method):
    return list(inspect.signature(method).parameters)


@pytest.fixture
def trainer_of(tmp_path):
    """A function that returns a model of one layer, its arguments, and a function that builds `trl.GRPOTrainer`."""
    tokenizer = AutoTokenizer.from_pretrained(PACKAGE / "models" / "tiny")

    def build(*, model_attributes=(), rollout_func=None, **arguments):
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                num_attention_heads=2, num_key_value_heads=2,
            )
        )  # fmt: skip
        for name in model_attributes:
            setattr(model, name, True)
        args = trl.GRPOConfig(
            output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, num_generations=2,
            per_device_train_batch_size=2, **arguments,
        )  # fmt: skip

        def start():
            return trl.GRPOTrainer(
                model=model,
                args=args,
                reward_funcs=[lambda completions, **_: [0.0] * len(completions)],
                rollout_func=rollout_func,
                train_dataset=datasets.Dataset.from_list([{"prompt": "a"}]),
                processing_class=tokenizer,
            )

        return model, args, start

    return build


def test_the_replaced_methods_of_the_grpo_trainer_have_known_parameters():
    with contract(entries.grpo_hooks):
        assert parameters(trl.GRPOTrainer._prepare_inputs) == ["self", "generation_batch"]
        score = trl.GRPOTrainer._get_per_token_logps_and_entropies
        assert parameters(score)[:6] == [
            "self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size",
        ]  # fmt: skip
        assert len(typing.get_args(inspect.signature(score).return_annotation)) == 3


def test_prepare_inputs_calls_the_method_that_generates_and_scores():
    with contract(entries.generate_and_score):
        assert parameters(trl.GRPOTrainer._generate_and_score_completions) == ["self", "inputs"]
        called = inspect.getsource(trl.GRPOTrainer._prepare_inputs)
        assert "self._generate_and_score_completions(generation_batch)" in called


def test_checkpointing_pauses_for_generation_and_keeps_its_arguments(trainer_of):
    model, _, start = trainer_of(
        gradient_checkpointing=True, gradient_checkpointing_kwargs={"use_reentrant": True}
    )
    trainer = start()
    with contract(entries.model_for_generation):
        model.gradient_checkpointing_enable({"use_reentrant": True})
        with entries.model_for_generation(trainer) as unwrapped:
            assert unwrapped is model
            assert not model.is_gradient_checkpointing
        assert model.is_gradient_checkpointing
        assert model.model._gradient_checkpointing_func.keywords == {"use_reentrant": True}


def test_the_constructor_creates_no_reference_model(trainer_of):
    _, args, start = trainer_of(beta=0.1)
    with contract(entries.without_reference_model):
        with entries.without_reference_model(args):
            trainer = start()
        assert trainer.ref_model is None
        assert args.beta == 0.1


def test_rollout_func_warns_and_is_silenced(trainer_of):
    _, _, start = trainer_of(rollout_func=lambda prompts, trainer: {})
    with contract(entries.quiet_rollout):
        with pytest.warns(UserWarning, match="rollout_func"):
            start()
        with warnings.catch_warnings(record=True) as caught, entries.quiet_rollout():
            start()
        assert not [each for each in caught if "rollout_func" in str(each.message)]


def test_weights_of_a_quantised_model_are_rounded_and_restored(trainer_of, monkeypatch):
    monkeypatch.setattr(  # transformers trains quantised models with adapters only
        "transformers.trainer.validate_quantization_for_training", lambda model: None
    )
    model, _, start = trainer_of(model_attributes=["is_loaded_in_4bit"])
    with contract(entries.adapters_keep_precision):
        with entries.adapters_keep_precision(model):
            start()
            assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}

"""Contradicting settings of adapters are reported with the reason and the fix; valid ones are accepted."""

import pytest
from omegaconf import OmegaConf

from dramaeval.models import adapter_settings


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        (["peft=prefix", "adapt=all"], ["adapt=all", "Set adapt=llm"]),
        (["peft=prompt", "adapt=[llm,audio]"], ["adapt=[llm,audio]", "Set adapt=llm"]),
        (
            ["peft=prefix", "trainer.args.gradient_checkpointing=true"],
            ["gradient_checkpointing=true does not work with peft=prefix", "peft=prompt"],
        ),
        (
            ["peft=prefix", "peft.prefix_projection=true"],
            ["save_strategy=no", "peft.encoder_hidden_size=512"],
        ),
        (["peft=prompt", "peft._target_=peft.PromptEncoderConfig"], ["peft=prefix or peft=prompt"]),
        (["peft=adalora", "peft.target_r=12"], ["peft.target_r=12 must be below peft.init_r=12"]),
        (["peft=adalora", "zero=zero2"], ["set zero=none"]),
        (["peft=prefix", "zero=zero3"], ["virtual tokens are read outside", "Set zero=zero2"]),
        (["peft=prompt", "zero=zero3"], ["virtual tokens are read outside", "Set zero=zero2"]),
        (
            ["peft=none", "quantization={_target_: transformers.BitsAndBytesConfig}"],
            ["quantised weights cannot be trained", "peft=qlora"],
        ),
        (
            ["peft=qlora", "quantization.load_in_4bits=true", "quantization.bnb_4bit_quant_type=nf5"],
            ["Did you mean load_in_4bit", "one of nf4, fp4. Did you mean nf4"],
        ),
        (["peft=adalora", "peft.deltaT=0"], ["peft.deltaT=0 must be 1 or more"]),
        (
            ["peft=prompt", "peft.num_virtual_tokens=0", "peft.prompt_tuning_init=FOO"],
            ["num_virtual_tokens=0 must be 1 or more", "init=FOO is not known; choose one of RANDOM"],
        ),
        (["adapt=audio", "model.freeze_audio=true"], ["leaves the audio untrained", "adapt=audio"]),
        (["adapt=all", "model.train_projector=false"], ["model.train_projector=false"]),
        (
            ["peft=prompt", "stages=[train,export]", "export.merge=true"],
            ["PromptTuningConfig learns virtual tokens", "export.merge=false"],
        ),
    ],
)  # fmt: skip
def test_contradicting_settings_of_adapters_are_reported(problems_of, overrides, messages):
    found = "\n".join(problems_of(*overrides))
    for message in messages:
        assert message in found


@pytest.mark.parametrize(
    "overrides",
    [
        ["peft=prefix", "adapt=[llm]"],
        ["peft=prompt", "trainer.args.gradient_checkpointing=true"],
        ["peft=qlora", "adapt=all"],
        ["peft=none", "model.freeze_audio=true", "model.train_projector=false"],
        ["peft=ia3", "stages=[train,export]", "export.merge=true"],
        ["peft=prefix", "peft.prefix_projection=true", "peft.encoder_hidden_size=64",
         "trainer.args.save_strategy=no", "trainer.args.load_best_model_at_end=false"],
    ],
)  # fmt: skip
def test_valid_settings_of_adapters_are_accepted(problems_of, overrides):
    assert problems_of(*overrides) == []


@pytest.mark.parametrize("adapt", ["llm", "audio", "all", "[llm,audio]"])
def test_parts_for_adapters_are_refused_where_every_weight_is_trained(composed, adapt):
    """Only if the user gives them: ``from=RUN peft=none`` takes those of the run."""

    def problems(*words, given=True):
        config = composed(*words)
        keys = list(words) if given else []
        OmegaConf.update(config, "hydra", {"overrides": {"task": keys}}, force_add=True)
        return adapter_settings.problems(config)

    (problem,) = problems("peft=none", f"adapt={adapt}")
    assert problem.startswith(f"adapt={adapt} names parts for adapters, and peft=none")
    assert problems("peft=none", f"adapt={adapt}", given=False) == []
    assert problems("peft=none", f"adapt={adapt}", "stages=[evaluate]") == []
    assert problems("peft=none", "model.freeze_audio=true") == []
    assert problems("peft=lora", f"adapt={adapt}") == []

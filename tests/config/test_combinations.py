"""Settings that do not go together stop with the reason and the fix; those that do, pass."""

import pytest

from dramaeval.config.problems import ConfigError
from dramaeval.stages.checks import check


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["peft=prefix", "adapt=all"], ["adapt=all", "Set adapt=llm"]),
        (["peft=prompt", "adapt=[llm,audio]"], ["adapt=[llm,audio]", "Set adapt=llm"]),
        (
            ["peft=prefix", "trainer.args.gradient_checkpointing=true"],
            ["gradient_checkpointing=true does not go with peft=prefix", "peft=prompt"],
        ),
        (
            ["peft=prefix", "peft.prefix_projection=true"],
            ["save_strategy=no", "peft.encoder_hidden_size=512"],
        ),
        (["peft=prompt", "peft._target_=peft.PromptEncoderConfig"], ["peft=prefix or peft=prompt"]),
        (["peft=adalora", "peft.target_r=12"], ["peft.target_r=12 must be below peft.init_r=12"]),
        (["peft=adalora", "zero={stage: 2}"], ["set zero=none"]),
        (["peft=prefix", "zero=zero3"], ["virtual tokens are read beside", "Set zero=zero2"]),
        (["peft=prompt", "zero=zero3"], ["virtual tokens are read beside", "Set zero=zero2"]),
        (
            ["peft=none", "quantization={_target_: transformers.BitsAndBytesConfig}"],
            ["quantised weights cannot be trained", "peft=qlora"],
        ),
        (["peft=qlora", "quantization.load_in_4bits=true"], ["Did you mean load_in_4bit"]),
        (["adapt=audio", "model.freeze_audio=true"], ["keeps the audio as it is", "adapt=audio"]),
        (["adapt=all", "model.train_projector=false"], ["model.train_projector=false"]),
        (["export.merge=true"], ["add export to stages"]),
        (["stages=[export]"], ["nothing to export", "checkpoint=RUN"]),
        (
            ["peft=prompt", "stages=[train,export]", "export.merge=true"],
            ["PromptTuningConfig learns virtual tokens", "export.merge=false"],
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_together(composed, overrides, told):
    with pytest.raises(ConfigError) as caught:
        check(composed(*overrides))
    for words in told:
        assert words in str(caught.value)


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
def test_what_goes_together(composed, overrides):
    check(composed(*overrides))

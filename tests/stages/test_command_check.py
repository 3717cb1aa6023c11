"""The check before Hydra writes a file: unknown keys, settings that need -m, stages that cannot run together."""

import os
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from repository import ROOT

from dramaeval.config import registration
from dramaeval.stages.command_check import CommandCheck


def refusal(*words, multirun=False):
    """The message with which the check ends the command, or an empty text if it accepts the command."""
    registration.register()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("launch", overrides=list(words), return_hydra_config=True)
    try:
        (CommandCheck().on_multirun_start if multirun else CommandCheck().on_run_start)(config)
    except SystemExit as end:
        return str(end)
    return ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trainer.args.lerning_rate=1"], "trl.SFTConfig. Did you mean trainer.args.learning_rate"),
        (["trainer=grpo", "trainer.args.num_generation=4"], "trl.GRPOConfig. Did you mean trainer.args.num_generations"),
        (["peft.rank=8"], "Did you mean peft.r?"),
        (["peft=qlora", "quantization.load_in_4bits=true"], "Did you mean quantization.load_in_4bit"),
        (["model.pth=x"], "Did you mean model.path?"),
        (["trainer.learning_rate=1"], "Did you mean trainer.args.learning_rate?"),
        (["task.rubrik=x"], "Did you mean task.rubric?"),
        (["checkpoint=RUN", "task.thought_samples=3"], "It is a setting of task=role_caption, task=role_emotion, "),
        (["task=mixed", "+task.tasks.role.shot=2"], "Did you mean task.tasks.role.shots?"),
        (["trainer=grpo", "+trainer.rewards.distance.wieght=1"], "trainer.rewards.distance.wieght is not an argument"),
        (["+evaluation.drawss=1"], "Did you mean draws?"),
        (["+trainer.callbacks=[x]"], "trainer.callbacks is set by the run: use callbacks.NAME._target_="),
        (["trainer.args.push_to_hub=true"], "use stages=[train,evaluate,export] export.push_to_hub="),
        (["trainer=grpo", "trainer.args.output_dir=x"], "trainer.args.output_dir is set by the run: use hydra.run.dir"),
        (["trainer.args.early_stopping_patience=3"], "is set by the run: use callbacks=early_stopping callbacks."),
        (["zero=zero2", "+zero.zero_optimization.overlap_com=true"], "DeepSpeed. Did you mean overlap_comm?"),
        (["zero=zero2", "+zero.comunication_data_type=x"], "zero.comunication_data_type is not a setting of DeepSpeed"),
        (["stages=[train,evaluate,report]"], "stages=[train,evaluate,report]: report compares finished runs"),
    ],
)  # fmt: skip
def test_unknown_keys_at_any_depth_are_refused_with_a_suggestion(words, expected):
    multirun = "report" not in words[0]  # so that both callbacks are tested
    assert expected in refusal(*words, multirun=multirun)


def test_further_problems_are_reported_with_an_unknown_key():
    message = refusal("peft.rank=8", "peft.r=-1", "task.data.test=/no.jsonl", "evaluation.draws=0")
    assert "has 4 problems" in message
    for expected in ("peft.rank", "peft.r=-1", "/no.jsonl does not exist", "evaluation.draws=0"):
        assert expected in message
    # Without an unknown key the complete check reports them, with all others.
    assert not refusal("peft.r=-1", "task.data.test=/no.jsonl", "evaluation.draws=0")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["trainer=grpo"],
        ["task=mixed"],
        ["experiment=realism_full"],
        ["zero=zero3_offload", "peft=none"],
        # These are refused later, by the complete check and by the check of secrets.
        ["trainer.args.hub_token=x"],
        ["+logger.wandb.api_key=x", "+trainer.args.hf_token=x"],
        ["+task.label_policies.own={_target_: no.such.Class, some: 1}"],
        ["sweep=x", "resume=true", "hydra/launcher=slurm", "launch.check=true"],
        ["sweep=x", "stages=[report]", "launch.trust=true"],
        ["hydra/launcher=local_processes", "launch.check=false"],
    ],
    ids=" ".join,
)
def test_this_check_accepts_valid_commands_and_problems_of_the_complete_check(words):
    assert refusal(*words) == ""


@pytest.mark.parametrize(
    ("words", "unused"),
    [
        (["hydra/launcher=slurm", "task=role"], "hydra/launcher=slurm"),
        (["hydra/launcher=slurm_cpu", "launch.check=true"], "hydra/launcher=slurm_cpu, launch.check=true"),
        (["launch.check=true"], "launch.check=true"),
        (["launch.detach=true"], "launch.detach=true"),
        (["search=lora"], "search=lora"),
        (["hydra/sweeper=optuna"], "hydra/sweeper=optuna"),
        (["hydra.launcher.parallel=2"], "hydra.launcher.parallel=2"),
        (["hydra.sweep.dir=x y"], "hydra.sweep.dir=x y"),
    ],
)  # fmt: skip
def test_settings_of_a_launcher_without_multirun_are_refused(words, unused):
    message = refusal(*words)
    assert f"{unused}: without -m the run starts here and now" in message
    assert "Type: python launch.py -m " in message
    for word in words:
        assert word.replace("x y", "'hydra.sweep.dir=x y'").split("=")[-1] in message


def test_the_suggested_command_turns_the_run_folder_into_a_sweep_folder():
    assert refusal("hydra/launcher=slurm", "launch.check=true", multirun=True) == ""
    message = refusal("hydra/launcher=slurm", "hydra.run.dir=a")
    assert message.endswith("Type: python launch.py -m hydra/launcher=slurm hydra.sweep.dir=a")
    assert "hydra.run.dir=a is not used with -m" in refusal("hydra.run.dir=a", multirun=True)


@pytest.mark.slow
def test_a_refused_command_loads_no_heavy_library_and_leaves_no_folder(tmp_path):
    """All commands run in one process, which at the end has every module that any of them imports."""
    commands = [
        ["pefft=lora", "hydra.run.dir=run"],
        ["trainer.args.lr=1", "hydra.run.dir=run"],
        ["-m", "trainer.args.lr=1,2", "hydra.sweep.dir=run"],
    ]
    code = (
        "import sys\n"
        "from hydra.core.global_hydra import GlobalHydra\n"
        "from dramaeval.cli import main\n"
        f"for words in {commands!r}:\n"
        "    sys.argv = ['launch.py', *words]\n"
        "    GlobalHydra.instance().clear()\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as end:\n"
        "        if isinstance(end.code, str):\n"
        "            print(end.code, file=sys.stderr)\n"
        "        print('ENDED', 1 if isinstance(end.code, str) else end.code)\n"
        "heavy = ('torch', 'transformers', 'trl', 'peft', 'numpy')\n"
        "print('HEAVY', [name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        check=False,
        # DeepSpeed sets this variable if another test of this process has imported it.
        env={name: value for name, value in os.environ.items() if name != "DS_ACCELERATOR"},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["ENDED 1"] * 3 + ["HEAVY []"], done.stderr
    assert done.stderr.count("The configuration has 1 problem") == 3
    assert not list(tmp_path.iterdir())

"""Every problem of a configuration is reported with its key and its fix, together with all others."""

import pytest

from dramaeval.config.schema import CONTROLS
from dramaeval.evaluation.controls import control_named

#: For each group: an override and the messages that it has to cause. All overrides of a group are given together.
GROUPS = {
    "own settings": [
        ("+stges=[train]", "stges is not a setting", "Did you mean stages"),
        ("+batch.globl=64", "batch.globl is not a setting", "Did you mean global?"),
        ("+evaluation.drawz=5", "evaluation.drawz is not a setting", "Did you mean draws?"),
        ("+export.x=1", "export.x is not a setting; there are merge"),
        ("+task.data.foo=1", "task.data.foo is not a setting"),
        ("+logger.wand={mode: auto}", "logger.wand is not a setting", "Did you mean wandb?"),
        ("seed=-5", "seed=-5 must be 0 or more and at most 4,294,967,295."),
        ("task.data.max_seconds=700", "task.data.max_seconds=700.0 must be above 0 and at most 600."),
        ("batch.eval_clips=0", "batch.eval_clips=0 must be 1 or more."),
        ("task.name=true", "task.name=True must be text (in quotes, where YAML reads another type)"),
        ("model.revision=1e10", "model.revision=10000000000.0 must be text (in quotes"),
        ("batch.global=0", "batch.global=0 must be 1 or more."),
        ("evaluation.level=95", "evaluation.level=95.0 must be above 0 and below 1."),
        ("evaluation.phrasings=1", "evaluation.phrasings=1 must be 2 or more."),
        ("evaluation.prosody_clips=9", "evaluation.prosody_clips=9 must be 10 or more."),
        ("processes=0", "processes=0 must be 1 or more."),
        ("report.split=train", "report.split=train is not a held-out split: give val, test or test_NAME."),
        ("report.phase=last", "report.phase=last is not known; choose one of zero_shot, final."),
        ("adapt=5", "adapt=5 must be a name or a list of names"),
        ("checkpoint=/not/there", "checkpoint=/not/there does not exist"),
        ("logger=wandb", ""),
        ("logger.wandb.mode=of", "logger.wandb.mode=of is not known", "auto, online, offline"),
    ],
    "other libraries' arguments": [
        ("trainer.args.learning_rat=1", "trainer.args.learning_rat is not an argument of trl.SFTConfig",
         "Did you mean learning_rate"),
        ("trainer.args.learning_rate=-1", "trainer.args.learning_rate=-1 must be above 0"),
        ("trainer.args.num_train_epochs=-1", "trainer.args.num_train_epochs=-1 must be above 0"),
        ("trainer.args.metric_for_best_model=foo", "choose one of pearson, cross_entropy", "pearson/KEY"),
        ("trainer.args.max_steps=1.5", "trainer.args.max_steps=1.5 must be a whole number"),
        ("trainer.args.weight_decay=much", "trainer.args.weight_decay=much must be a number"),
        ("trainer.args.output_dir=x", "is set by the run: use hydra.run.dir=FOLDER"),
        ("trainer.objective=-1*soft_ce", "the weight -1 of soft_ce must be above 0"),
        ("+trainer.foo=1", "trainer.foo is not an argument of dramaeval.training.sft.trainer.JudgeSFTTrainer"),
        ("+trainer.record_encoder=1", "trainer.record_encoder is set by the run: use task=…"),
        ("peft.lora_alfa=1", "peft.lora_alfa is not an argument of peft.LoraConfig", "lora_alpha"),
        ("+peft.rank=8", "peft.rank is not an argument", "Did you mean r?"),
        ("+peft.dropout=0.1", "Did you mean lora_dropout?"),
        ("peft.bias=foo", "peft.bias=foo is not known; choose one of none"),
        ("peft.r=0", "peft.r=0 must be 1 or more"),
        ("zero=zero2", ""),
        ("+zero.zero_optimisation.stage=3", "zero.zero_optimisation is not a setting of DeepSpeed",
         "Did you mean zero_optimization"),
        ("+zero.fp16.enabled=true", "zero.fp16 is set by the run: use model.dtype"),
    ],
    "task and model": [
        ("+model.foo=1", "model.foo is not an argument of dramaeval.models.families.qwen2_audio.Qwen2Audio"),
        ("model.paht=x", "model.paht is not an argument", "Did you mean path?"),
        ("model.path=''", "model.path is empty"),
        ("model.attention=flash", "model.attention=flash is not known", "flash_attention_2"),
        ("model.head=vocab", "model.head=vocab is not known; choose one of vocabulary, regression"),
        ("task.lables=mean", "task.lables is not an argument", "Did you mean labels"),
        ("task.labels=modal", "task.labels=modal is not known; choose one of distribution"),
        ("task.dimensions=pitch_dynamics", "must be a list: task.dimensions=[pitch_dynamics]"),
        ("task.shots=-1", "task.shots=-1 must be a whole number"),
        ("task.data.train=no.jsonl", "task.data.train: no.jsonl does not exist"),
        ("task.data.test=no2.jsonl", "task.data.test: no2.jsonl does not exist"),
        ("task.data.val=/etc", "task.data.val: /etc is a folder of no known kind (audio, datasets, Kaldi, Parquet): give the path"),
        ("trainer.objective=soft_c", "'soft_c' is not known", "Did you mean soft_ce"),
        ("evaluation.metrics=[foo]", "evaluation.metrics: foo is not a metric"),
        ("evaluation.controls=[silense]", "evaluation.controls=silense is not known; choose one of training_mean",
         "Did you mean silence?"),
    ],
    "home folders of accounts that do not exist": [
        ("checkpoint='~no-account/run'", "checkpoint=~no-account/run does not exist"),
        ("task.data.train='~no-account/x.jsonl'", "task.data.train: ~no-account/x.jsonl does not exist"),
        ("stages=[train,score]", ""),
        ("input='~no-account/x.wav'", "~no-account/x.wav does not exist"),
        ("output='~no-account/x.csv'", "output=~no-account/x.csv: the folder ~no-account does not exist"),
    ],
    "names that cannot be imported": [
        ("peft._target_=nope.X", "peft._target_=nope.X cannot be imported: No module named 'nope'"),
        ("task._target_=dramaeval.nope", "task._target_=dramaeval.nope cannot be imported"),
        ("model._target_=nope.X", "model._target_=nope.X cannot be imported"),
    ],
    "a mixture": [
        ("task=mixed", ""),
        ("+task.tasks.role.data.foo=1", "task.tasks.role.data.foo is not a setting"),
        ("+task.tasks.role.data.workers=two", "task.tasks.role.data.workers='two' must be a whole number of 1 or"),
        ("task.data.test=x.jsonl", "task.data.test does not say which of the tasks it is for"),
        ("task.tasks.role.shots=1", "task.tasks.role.shots=1: a mixture does not support examples"),
        ("task.tasks.avqa.labels=x", "task.tasks.avqa.labels=x is not known"),
    ],
    "stages without what they need": [
        ("stages=[prepare,train,evaluate,score,report]", "both write predictions.jsonl"),
        ("stages=[prepare,train,evaluate,score,report]", "stages=[score] needs input=FILE, FOLDER or GLOB"),
        ("stages=[prepare,train,evaluate,score,report]", "needs a separate run"),
        ("runs=[/nowhere,'~no-account/x']", "/nowhere is neither a folder nor a file", "~no-account/x is neither"),
        ("task.shots=1", "task.shots=1 with stages=[prepare]"),
    ],
    "settings that no stage reads": [
        ("stages=[leaderboard,controls,export]", "stages=[leaderboard] needs input"),
        ("stages=[leaderboard,controls,export]", "stages=[evaluate,controls]"),
        ("stages=[leaderboard,controls,export]", "nothing to export", "checkpoint=RUN"),
        ("runs=[/]", "runs=[…] is read by stages=[report]"),
        ("report.split=val", "report.split=… is read by stages=[report] only"),
        ("report.phase=final", "report.phase=… is read by stages=[report] only"),
        ("zero=zero1", "stages has no train"),
        ("logger.wandb.project=x", "logger.wandb.project=x is not used", "choose logger=wandb"),
    ],
    "no stage": [
        ("stages=[]", "stages=[] does nothing"),
        ("input=x.jsonl", "input=… is read by stages=[score]"),
        ("export.merge=true", "add export to stages"),
        ("leaderboard.title=x", "leaderboard.title=… is read by stages=[leaderboard] only"),
        ("leaderboard.prompt=x", "leaderboard.prompt=… is read by stages=[leaderboard] only"),
        ("leaderboard.examples=0", "leaderboard.examples=… is read by stages=[leaderboard] only"),
        ("task.dimensions=[]", "task.dimensions=[] selects no dimension: null selects all"),
        ("model=qwen2_audio", "model.path has no value"),
    ],
    "no file to train": [("task.data.test=x", "task.data.train is not set, but stages has train")],
    "no file to evaluate": [
        ("task.data.train=x", "Neither task.data.val nor task.data.test"),
    ],
    "no runs": [("stages=[report]", "needs runs=[FOLDER,FOLDER,…]")],
}  # fmt: skip


@pytest.mark.parametrize("cases", GROUPS.values(), ids=list(GROUPS))
def test_each_problem_is_reported_with_its_key_and_its_fix(problems_of, cases):
    found = "\n".join(problems_of(*dict.fromkeys(case[0] for case in cases)))
    for _, *messages in cases:
        for message in messages:
            assert message in found


def test_the_defaults_have_no_problem_and_each_mistake_is_one_problem(problems_of):
    assert problems_of() == []
    assert len(problems_of("peft.rank=1", "trainer.args.lr=1", "task.labels=x", "seed=1")) == 3


def test_every_control_of_the_schema_has_a_function_and_is_run_by_default(composed):
    assert all(control_named(name).predict.__name__ == name for name in CONTROLS)
    assert composed().evaluation.controls == list(CONTROLS)

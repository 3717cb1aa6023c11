"""The export stage: merged models score as their adapters, copies of adapters, and model cards."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from peft import PeftModel
from transformers import Qwen2AudioForConditionalGeneration

from dramaeval.config.problems import ConfigError
from dramaeval.distributed.processes import SINGLE_PROCESS
from dramaeval.evaluation.scoring import score
from dramaeval.models.adapters import attach
from dramaeval.models.checkpoint import Checkpoint
from dramaeval.models.quantization import write_quantization
from dramaeval.stages import export
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.pipeline import run_stages
from dramaeval.stages.run_folder import RunFolder


@pytest.fixture
def run_of(composed, make_clips, tmp_path, small_judge):
    files = {
        "train": make_clips("train", 3, seconds=(0.4, 0.9)),
        "val": make_clips("val", 5, seconds=(0.3, 0.6), seed=1),
    }
    data = [f"task.data.{split}={file}" for split, file in files.items()]

    def build(*overrides, name="run"):
        config = composed(
            "device=cpu", "task.dimensions=[pitch_dynamics]", "evaluation.draws=20", "evaluation.html=false",
            "evaluation.group_by=local_scene", small_judge, *data, *overrides,
        )  # fmt: skip
        check(config)
        return RunContext(config, RunFolder(tmp_path / name))

    return build


def saved_adapter(run, folder):
    """Save an adapter with random weights; return the distributions of the judge with it."""
    torch.manual_seed(1)
    model = attach(run.model, run.adapter)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    if run.quantization is not None:
        write_quantization(run.quantization, folder)
    return [one.distribution for one in score(model, run.splits["val"], run.record_encoder)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "adapt"),
    [("lora", "all"), ("dora", "llm"), ("ia3", "all"), ("adalora", "llm"), ("qlora", "all")],
)
def test_a_merged_model_has_the_distributions_of_its_adapter(run_of, tmp_path, method, adapt):
    run = run_of(f"peft={method}", f"adapt={adapt}")
    before = [one.distribution for one in score(run.model, run.splits["val"], run.record_encoder)]
    expected = saved_adapter(run, tmp_path / "adapter")
    exporting = run_of(
        "stages=[export]", "export.merge=true", f"checkpoint={tmp_path / 'adapter'}", name="export"
    )
    exporting.folder.path.mkdir()
    run_stages(exporting)
    folder = tmp_path / "export" / "export"
    _, report = Qwen2AudioForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    again = run_of("stages=[evaluate]", f"checkpoint={tmp_path / 'export'}", name="again")
    assert again.checkpoint.folder == folder
    found = [one.distribution for one in score(again.model, run.splits["val"], run.record_encoder)]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(np.array(expected) - before).max() > 1e-3  # otherwise the adapter had no effect


@pytest.mark.parametrize("adapter", [True, False])
def test_an_export_of_another_kind_is_replaced_and_one_of_the_same_kind_is_kept(
    tmp_path, monkeypatch, adapter
):
    """A judge that is a full model has nothing to merge, so its export is always a copy."""
    judge = tmp_path / "judge"
    judge.mkdir()
    name = "adapter_config.json" if adapter else "config.json"
    (judge / name).write_text("{}", encoding="utf-8")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    monkeypatch.setattr(
        export, "_save_merged", lambda *args: (args[-1] / "config.json").write_text("{}")
    )
    monkeypatch.setattr(export, "export_judge_file", lambda *_: None)

    def start(merge):
        settings = SimpleNamespace(merge=merge, push_to_hub=None)
        export.run(
            SimpleNamespace(
                folder=folder, checkpoint=Checkpoint(judge, adapter=adapter), model=None,
                config=SimpleNamespace(export=settings), processes=SINGLE_PROCESS,
            )
        )  # fmt: skip
        mark = folder.export / "mark"
        kept = mark.exists()
        mark.touch()
        return (folder.export / "adapter_config.json").is_file(), kept

    for merge, before in [
        (False, None),
        (False, False),
        (True, False),
        (True, True),
        (False, True),
    ]:
        is_same = before is not None and (not adapter or merge == before)
        assert start(merge) == (adapter and not merge, is_same)


@pytest.mark.slow
def test_prefix_tuning_cannot_be_merged_and_is_exported_as_a_copy(run_of, tmp_path, small_judge):
    saved_adapter(run_of("peft=prefix"), tmp_path / "adapter")
    words = ["stages=[export]", f"checkpoint={tmp_path / 'adapter'}"]
    with pytest.raises(ConfigError, match="PrefixTuningConfig learns virtual tokens"):
        run_of(*words, "export.merge=true")
    run = run_of(*words, name="copy")
    run.folder.path.mkdir()
    run_stages(run)
    base = Qwen2AudioForConditionalGeneration.from_pretrained(
        small_judge.removeprefix("model.path=")
    )
    PeftModel.from_pretrained(base, run.folder.export)
    assert "Data\n\nNot known" in (run.folder.export / "README.md").read_text()


@pytest.mark.slow
def test_cards_state_the_data_settings_figures_and_licence_of_the_run(
    run_of, tmp_path, small_judge
):
    base = tmp_path / "base"
    shutil.copytree(small_judge.removeprefix("model.path="), base)
    (base / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# A base\n", encoding="utf-8")
    run = run_of(
        "stages=[train,evaluate,export]", "export.merge=true", f"model.path={base}",
        "trainer.args.max_steps=2", "trainer.args.per_device_train_batch_size=2", "peft.r=3",
        "trainer.args.save_strategy=no", "trainer.args.load_best_model_at_end=false",
        "evaluation.zero_shot=false",
    )  # fmt: skip
    run.folder.path.mkdir()
    run.folder.open(run.config)
    run_stages(run)
    metrics = json.loads(run.folder.metrics.read_text())
    final = metrics["val"]["final"]["macro"]
    low, high = final["interval"]["mse"]
    for folder, library in ((run.folder.model, "peft"), (run.folder.export, "transformers")):
        text = (folder / "README.md").read_text(encoding="utf-8")
        head = yaml.safe_load(text.split("---\n")[1])
        assert (head["license"], head["library_name"]) == ("cc-by-4.0", library)
        assert head["base_model"] == "base"
        for words in (
            "Rubric: realism, version 1.0",
            "Dimensions: pitch_dynamics\n",
            "| train | train.jsonl | 3 |",
            "| val | val.jsonl | 5 |",
            f"{final['mse']:.3f} [{low:.3f}, {high:.3f}]",
            "| peft.r | 3 |",
            "| trainer.args.max_steps | 2 |",
            "licence of the base, base, is cc-by-4.0",
        ):
            assert words in text
        assert str(tmp_path) not in text
    assert (run.folder.export / "model.safetensors").is_file()

"""Runs the 7B's true size on a CPU: a random checkpoint of 8,397,094,912 parameters in the layout of the hub.

    python -m benchmarks.true_size --processor FOLDER           # every section that is not done; 17 GB of disk, 24 GiB of memory
    python -m benchmarks.true_size --processor FOLDER --small   # tiny widths, minutes: a test of the script
    python -m benchmarks.true_size --processor FOLDER --only score train

FOLDER holds Qwen2-Audio's processor with its true vocabulary. The sections run `launch.py` as a user does. The memory is
the largest resident size of the process. Results and page are written after each section.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.sections import FAILED, Figure, Section, run_all, table
from benchmarks.true_size_study import ROOT, Study

#: The largest difference of a logit from plain transformers', in standard deviations of the logits: bfloat16 has 8 bits.
LOGITS = 0.25
LORA = (
    "stages=[train]", "peft=lora", "batch.per_device=1", "task.data.val=null", "task.data.test=null",
    "trainer.args.gradient_checkpointing=true", "trainer.args.eval_strategy=no",
    "trainer.args.load_best_model_at_end=false", "trainer.args.save_steps=1", "trainer.args.warmup_steps=0",
)  # fmt: skip
HEAD = """# The true size on a CPU

Written by `python -m benchmarks.true_size`; see [its description](../benchmarks/README.md#the-true-size). A checkpoint
with random weights in bfloat16, and Qwen2-Audio's own tokenizer. Peak memory is the largest resident size of the process.

"""


def checkpoint(study: Study) -> Iterator[Figure]:
    """Writes the checkpoint, unless it is there."""
    from benchmarks.random_7b import PARAMETERS, write_checkpoint

    began = time.monotonic()
    write_checkpoint(study.checkpoint, study.processor, small=study.small)
    yield Figure(name="wall time", value=time.monotonic() - began, unit="s")
    index = json.loads((study.checkpoint / "model.safetensors.index.json").read_text("utf-8"))
    count = index["metadata"]["total_size"] // 2
    yield Figure(name="parameters", value=f"{count:,}")
    yield Figure(name="shards", value=len(set(index["weight_map"].values())))
    yield Figure(name="a name of a weight", value=f"`{sorted(index['weight_map'])[-1]}`")
    if not study.small and count != PARAMETERS:
        raise ValueError(f"the checkpoint has {count:,} parameters, and the 7B {PARAMETERS:,}")


def score(study: Study) -> Iterator[Figure]:
    """Scores one clip on ten dimensions at once."""
    given = (
        "stages=[evaluate]", "task.data.train=null", "task.data.val=null",
        f"task.data.test={study.first_record}",
    )  # fmt: skip
    yield from study.launch("score", *given)
    files = list(study.run("score").glob("predictions*.jsonl"))
    predictions = [json.loads(text) for file in files for text in file.read_text().splitlines()]
    if len(predictions) != 10:
        raise ValueError(f"ten predictions are expected, and there are {len(predictions)}")
    yield Figure(name="questions scored", value=len(predictions))


def train(study: Study) -> Iterator[Figure]:
    """Two LoRA steps of one clip with ten questions each, with gradient checkpointing."""
    yield from study.launch("train", *LORA, "trainer.args.max_steps=2")
    yield Figure(name="adapter", value=_adapter(study.run("train")).stat().st_size / 2**20, unit="MiB")  # fmt: skip


def resume(study: Study) -> Iterator[Figure]:
    """The same training, killed by SIGKILL after its first checkpoint and started again.

    Raises:
        ValueError: it was not killed in time, or it ends with another adapter than the training that was not killed.
    """
    name = "resume"
    shutil.rmtree(study.run(name), ignore_errors=True)  # of an earlier try
    words = study.words(*LORA, "trainer.args.max_steps=2")
    marker = study.run(name) / "checkpoints" / "checkpoint-1"
    command = study.command(name, words)
    killed = study.process(command, until=lambda: _is_sealed(marker))
    if not killed.killed:
        raise ValueError("the training ended before it could be killed")
    again = study.process(command)
    if "Resuming from checkpoint-1" not in again.text:
        raise ValueError(f"the second start did not resume from checkpoint-1: {again.text[-1500:]}")
    yield from again.figures()
    same = _hash(_adapter(study.run(name))) == _hash(_adapter(study.run("train")))
    yield Figure(name="the adapter is that of `train` bit for bit", value=same)
    if not same:
        raise ValueError("the resumed training ends with another adapter")


def qlora(study: Study) -> Iterator[Figure]:
    """Loads the language model in 4 bits and takes one QLoRA step of ten questions."""
    given = [word for word in LORA if word != "peft=lora"]
    words = (*given, "peft=qlora", "trainer.args.max_steps=1")
    yield Figure(name="weights not in 4 bits", value=_unquantised(study.checkpoint) / 2**30, unit="GiB")  # fmt: skip
    yield from study.launch("qlora", *words, mapped=_unquantised(study.checkpoint))


def export(study: Study) -> Iterator[Figure]:
    """Exports the adapter."""
    yield from _exported(study, "export")


def merge(study: Study) -> Iterator[Figure]:
    """Exports the adapter merged into the checkpoint, and compares a merged weight with W + αBA/r.

    Raises:
        ValueError: the weight differs by more than rounding.
    """
    from peft import LoraConfig

    yield from _exported(study, "merge", "export.merge=true")
    weight = "layers.0.self_attn.q_proj"
    base = _tensor(study.checkpoint, f"{weight}.weight").float()
    merged = _tensor(study.run("merge") / "export", f"{weight}.weight").float()
    model = study.run("train") / "model"
    first, second = (_tensor(model, f"{weight}.lora_{part}.weight").float() for part in ("A", "B"))
    adapter = LoraConfig.from_pretrained(model)
    wanted = base + adapter.lora_alpha / adapter.r * second @ first
    apart = float((merged - wanted).abs().max() / wanted.abs().max())
    yield Figure(
        name="merged weight − (W + αBA/r)",
        value=apart,
        note="largest, relative to the largest weight",
    )
    change = float((merged - base).abs().max() / wanted.abs().max())
    yield Figure(name="merged weight − W", value=change, note="the same")
    # Rounded to 8 bits after the sum, and before it in the product of A and B.
    if apart > 2**-7:
        raise ValueError(f"a merged weight differs by {apart:.2g} of the largest")


def plain(study: Study) -> Iterator[Figure]:
    """Logits of one question and the time of ten, against plain transformers with the same weights in one process."""
    command = [sys.executable, "-m", "benchmarks.true_size", "--child", "--folder", study.folder]
    command += ["--processor", study.processor, *(["--small"] if study.small else [])]
    done = study.process(list(map(str, command)))
    (found,) = [text for text in done.text.splitlines() if text.startswith("FIGURES ")]
    for values in json.loads(found.removeprefix("FIGURES ")):
        yield Figure(**values)
    yield from done.figures()


def compare(study: Study) -> Iterator[Figure]:
    """The work of the process that `plain` starts.

    Raises:
        ValueError: the logits differ by more than rounding.
    """
    import torch
    from transformers import Qwen2AudioForConditionalGeneration

    from benchmarks.plain import Plain
    from benchmarks.timing import seconds
    from dramaeval.config.composition import compose
    from dramaeval.evaluation.scoring import score as score_records
    from dramaeval.models.inputs.collation import collate
    from dramaeval.stages.context import RunContext
    from dramaeval.stages.run_folder import RunFolder

    words = study.words(
        "stages=[evaluate]", "task.data.val=null", f"task.data.test={study.first_record}"
    )
    context = RunContext(compose(*words), RunFolder(study.folder / "compare"))
    model, encoder = context.model, context.record_encoder
    (record,) = context.splits["test"]
    own = seconds(lambda: score_records(model, [record], encoder, clips_a_batch=1))
    yield Figure(name="dramaeval: ten questions", value=own, unit="s", note="decoding included")
    task = encoder.task
    encoded = encoder.encode(record, task.questions(record, task.dimensions_for(record)))
    batch = collate([encoded], pad=encoder.pad)
    with torch.inference_mode():
        logits = model(**batch.inputs).logits[batch.score_index[0]].float()
    # The judge's class adds methods alone: without it, this is transformers' model with the same weights.
    model.__class__ = Qwen2AudioForConditionalGeneration
    model.set_attn_implementation("sdpa")
    peer = Plain(study.checkpoint, context.task, [record], lora=False, loaded=model)
    opened = _row(peer._prompts(record, "<answer>"), 0)
    with torch.inference_mode():
        wanted = model(**opened).logits[0, -1].float()
    spread = float(wanted.std())
    apart = float((logits - wanted).abs().max()) / spread
    yield Figure(
        name="logits: dramaeval − plain transformers", value=apart,
        note=f"largest of {len(wanted):,}, in standard deviations ({spread:.3g}); bfloat16",
    )  # fmt: skip
    if apart > LOGITS:
        raise ValueError(f"the logits differ by {apart:.2g} standard deviations")
    prompts = peer._prompts(record)
    rows = range(len(prompts["input_ids"]))
    # One question at a time: the keys and values of ten would take 8 GiB.
    taken = seconds(lambda: [_generate(model, _row(prompts, at)) for at in rows])
    yield Figure(
        name="plain transformers' generate: ten questions", value=taken, unit="s",
        note="8 tokens each, one after another",
    )  # fmt: skip
    yield Figure(name="faster than generate", value=taken / own, unit="times")


def _generate(model: Any, inputs: dict[str, Any]) -> Any:
    import torch

    with torch.inference_mode():
        return model.generate(**inputs, max_new_tokens=8, min_new_tokens=8, do_sample=False)


def _row(inputs: Any, at: int) -> dict[str, Any]:
    return {name: values[at : at + 1] for name, values in inputs.items()}


def _unquantised(folder: Path) -> int:
    """Bytes of a checkpoint's weights outside the linear layers of the language model."""
    from safetensors import safe_open

    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping
                if not (name.startswith("language_model") and name.endswith("_proj.weight")):
                    total += 2 * math.prod(weights.get_slice(name).get_shape())
    return total


def _exported(study: Study, name: str, *overrides: str) -> Iterator[Figure]:
    given = (
        "stages=[export]", f"checkpoint={study.run('train')}", "task.data.train=null", "task.data.val=null",
        "task.data.test=null", *overrides,
    )  # fmt: skip
    done = study.process(study.command(name, study.words(*given)))
    yield from done.figures()
    files = [file for file in (study.run(name) / "export").rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    yield Figure(name="size of the export", value=size / 2**30, unit="GiB")


def _is_sealed(folder: Path) -> bool:
    """Whether a checkpoint is written to its end."""
    from dramaeval.data.manifest import DamagedFileError, read_manifest

    try:
        return bool(read_manifest(folder))
    except DamagedFileError:
        return False


def _adapter(run: Path) -> Path:
    return run / "model" / "adapter_model.safetensors"


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _tensor(folder: Path, ending: str) -> Any:
    """The one weight of the language model whose name has this ending."""
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping
                if name.endswith(ending) and "language_model" in name:
                    return weights.get_tensor(name)
    raise KeyError(f"{folder} has no weight of the language model that ends with {ending}")


SECTIONS = (checkpoint, score, train, resume, qlora, export, merge, plain)


def sections(study: Study) -> list[Section]:
    """All sections in order."""
    return [
        Section(
            name=function.__name__,
            about=(function.__doc__ or "").splitlines()[0],
            run=partial(function, study),
            needs=("bitsandbytes",) if function is qlora else (),
        )
        for function in SECTIONS
    ]


def surroundings() -> dict[str, Any]:
    """Date, cores and versions."""
    from importlib.metadata import version

    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "cores": len(os.sched_getaffinity(0)),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        **{name: version(name) for name in ("torch", "transformers", "peft")},
    }


def main() -> int:
    """Run the selected sections; returns 1 if one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [function.__name__ for function in SECTIONS]
    parser.add_argument("--processor", type=Path, required=True, help="Qwen2-Audio's processor")
    parser.add_argument("--small", action="store_true", help="tiny widths: a test of the script")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--again", action="store_true", help="also sections that are done")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "true_size")
    parser.add_argument("--page", type=Path, help="the page; its figures are beside it as JSON")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if given.child:
        study = Study(given.folder, given.processor, given.small)
        figures = [asdict(figure) for figure in compare(study)]
        print("FIGURES " + json.dumps(figures), flush=True)
        return 0
    from benchmarks.page import write_with_remarks

    folder = given.folder.absolute() / ("small" if given.small else "true")
    folder.mkdir(parents=True, exist_ok=True)
    study = Study(folder, given.processor.absolute(), given.small)
    page = given.page or (
        folder / "true_size.md" if given.small else ROOT / "docs" / "true_size.md"
    )
    every = sections(study)
    kept = run_all(
        [section for section in every if section.name in given.only],
        page.with_suffix(".json"),
        lambda results: write_with_remarks(page, HEAD + table(results, every)),
        around=surroundings,
        again=given.again,
    )
    return int(any(section["state"] == FAILED for section in kept.values()))


if __name__ == "__main__":
    sys.exit(main())

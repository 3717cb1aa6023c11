"""Adapters of other people: loading them imports no module that they name and unpickles no object."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig

from dramaeval import Judge
from dramaeval.config.schema import PACKAGE
from dramaeval.models.adapters import attach, load_adapter
from dramaeval.models.errors import ModelError


@pytest.fixture
def saved(tmp_path):
    """A function that saves an adapter with changed settings; it returns the tiny judge's model and the folder."""

    def save(config, **changes):
        model = Judge.load("tiny", device="cpu").model
        folder = tmp_path / "adapter"
        attach(model, config).save_pretrained(folder)
        file = folder / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
        return Judge.load("tiny", device="cpu").model, folder

    return save


LORA = {"r": 1, "target_modules": ["q_proj"]}
PROMPT = {"num_virtual_tokens": 2, "task_type": "CAUSAL_LM"}


@pytest.mark.slow
def test_the_megatron_module_of_an_adapter_is_not_imported(saved):
    model, folder = saved(
        LoraConfig(**LORA), megatron_config={"a": 1}, megatron_core="megatron.evil"
    )
    with pytest.raises(ModelError, match=r"import megatron\.evil: adapters on Megatron's layers"):
        load_adapter(model, folder, trainable=False)


@pytest.mark.slow
def test_the_class_of_the_base_is_not_read_from_the_adapter(saved):
    mapping = {"base_model_class": "Evil", "parent_library": "evil"}
    model, folder = saved(LoraConfig(**LORA), auto_mapping=mapping)
    loaded = load_adapter(model, folder, trainable=False)
    assert loaded.peft_config["default"].auto_mapping is None


def test_prompt_tuning_is_loaded_without_the_tokenizer_of_its_initial_text(saved):
    model, folder = saved(
        PromptTuningConfig(**PROMPT),
        prompt_tuning_init="TEXT",
        prompt_tuning_init_text="Hello",
        tokenizer_name_or_path="evil-org/tokenizer",
        tokenizer_kwargs={"trust_remote_code": True},
    )
    loaded = load_adapter(model, folder, trainable=True)
    assert loaded.prompt_encoder["default"].embedding.weight.shape[0] == 2


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


def test_a_pickled_adapter_with_other_objects_is_refused(saved, tmp_path):
    model, folder = saved(LoraConfig(**LORA))
    (folder / "adapter_model.safetensors").unlink()
    torch.save({"a": Touch(tmp_path / "created")}, folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="a pickle that holds more than weights"):
        load_adapter(model, folder, trainable=False)
    assert not (tmp_path / "created").exists()


def test_a_pickled_model_with_other_objects_is_refused(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(PACKAGE / "models" / "tiny", folder)
    (folder / "model.safetensors").unlink()
    torch.save({"a": Touch(tmp_path / "created")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="a pickle that holds more than weights"):
        Judge.load(folder, device="cpu")
    assert not (tmp_path / "created").exists()

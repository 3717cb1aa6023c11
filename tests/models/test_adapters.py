"""An adapter folder of somebody else: its settings import nothing, and its weights are not unpickled."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig

from dramaeval import Judge
from dramaeval.config.schema import PACKAGE
from dramaeval.models.adapters import attach, load_adapter
from dramaeval.models.families.base import ModelError


@pytest.fixture
def saved(tmp_path):
    """Save an adapter on the tiny judge with some of its settings replaced; returns the base and the folder."""

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


def test_no_module_is_imported_by_its_name(saved):
    model, folder = saved(
        LoraConfig(**LORA), megatron_config={"a": 1}, megatron_core="megatron.evil"
    )
    with pytest.raises(ModelError, match=r"import megatron\.evil: adapters on Megatron's layers"):
        load_adapter(model, folder, trainable=False)


def test_a_class_for_the_base_is_not_taken_from_it(saved):
    mapping = {"base_model_class": "Evil", "parent_library": "evil"}
    model, folder = saved(LoraConfig(**LORA), auto_mapping=mapping)
    loaded = load_adapter(model, folder, trainable=False)
    assert loaded.peft_config["default"].auto_mapping is None


def test_virtual_tokens_of_a_text_need_no_tokenizer_to_train_on(saved):
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
    """What a pickle holds that runs a command."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


def test_weights_in_a_pickle_run_nothing(saved, tmp_path):
    model, folder = saved(LoraConfig(**LORA))
    (folder / "adapter_model.safetensors").unlink()
    torch.save({"a": Touch(tmp_path / "hurt")}, folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="a pickle that holds more than weights"):
        load_adapter(model, folder, trainable=False)
    assert not (tmp_path / "hurt").exists()


def test_neither_do_those_of_a_full_model(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(PACKAGE / "models" / "tiny", folder)
    (folder / "model.safetensors").unlink()
    torch.save({"a": Touch(tmp_path / "hurt")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="a pickle that holds more than weights"):
        Judge.load(folder, device="cpu")
    assert not (tmp_path / "hurt").exists()

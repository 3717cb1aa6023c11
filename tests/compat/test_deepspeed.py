"""What `dramaeval.compat.deepspeed` assumes about DeepSpeed and transformers' integration of it."""

import inspect

import pytest
import torch
from contracts import contract

from dramaeval.compat import deepspeed as entries

pytest.importorskip("deepspeed", reason="pip install 'dramaeval[deepspeed]'")


def test_the_shared_memory_library_can_be_switched_off():
    import deepspeed.ops

    with contract(entries.skip_shared_memory_library):
        assert "deepspeed_shm_comm" in deepspeed.ops.__compatible_ops__


def test_partitioned_parameters_have_an_id():
    from deepspeed.runtime.zero import partition_parameters

    # Partitioning needs a process group; the name is in the source.
    with contract(entries.is_partitioned):
        assert "param.ds_id = " in inspect.getsource(partition_parameters)
    model = torch.nn.Linear(2, 2)
    assert not entries.is_partitioned(model)
    model.weight.ds_id = 0
    assert entries.is_partitioned(model)


def test_unpartitioned_weights_disables_zero3_and_restores_it():
    from transformers.integrations import deepspeed as integration

    with contract(entries.unpartitioned_weights):
        before = integration._hf_deepspeed_config_weak_ref
        with entries.unpartitioned_weights():
            assert not integration.is_deepspeed_zero3_enabled()
        assert integration._hf_deepspeed_config_weak_ref is before


def test_the_function_that_loads_deepspeed_checkpoints_has_known_parameters():
    from transformers import trainer

    with contract(entries.universal_checkpoints):
        parameters = list(inspect.signature(trainer.deepspeed_load_checkpoint).parameters)
        assert parameters == ["deepspeed_engine", "checkpoint_path", "load_module_strict"]


def test_the_script_of_the_universal_format_has_known_functions():
    from deepspeed.checkpoint import ds_to_universal

    with contract(entries.write_universal):
        assert list(inspect.signature(ds_to_universal.main).parameters) == ["args"]
        assert ds_to_universal.parse_arguments


def test_an_engine_has_the_attributes_that_swapped_shards_uses():
    from deepspeed import DeepSpeedEngine

    with contract(entries.swapped_shards):
        assert callable(DeepSpeedEngine.empty_partition_cache)
        source = inspect.getsource(DeepSpeedEngine)
        assert "self.dp_world_size = " in source
        assert "self.global_rank = " in source

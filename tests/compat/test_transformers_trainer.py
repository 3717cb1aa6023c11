"""What `dramaeval.compat.transformers_trainer` assumes about transformers' trainer."""

import inspect

import pytest
from contracts import contract
from transformers import Trainer

from dramaeval.compat.transformers_trainer import checkpoint_hooks


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_save_checkpoint", ["self", "model", "trial"]),
        ("_load_from_checkpoint", ["self", "resume_from_checkpoint", "model"]),
        ("_load_best_model", ["self"]),
    ],
)
def test_the_trainer_calls_the_replaced_methods(name, parameters):
    with contract(checkpoint_hooks):
        assert list(inspect.signature(getattr(Trainer, name)).parameters) == parameters
        assert f"self.{name}(" in inspect.getsource(inspect.getmodule(Trainer))

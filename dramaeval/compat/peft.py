"""Private parts of PEFT that models rely on; `dramaeval.compat.peft_adalora` has those of AdaLoRA's training.

Each entry states what it reaches, why, since which version, and when it can be removed.
"""

from __future__ import annotations

from typing import Any

_CAUSAL_ONLY = ("ADALORA", "PREFIX_TUNING", "PROMPT_TUNING")


def set_task_type(config: Any) -> None:
    """Set the task of a configuration whose method PEFT only runs for causal language models.

    Reaches: the choice of PEFT's wrapper class by ``task_type``.
    Why: without a task AdaLoRA's orthogonality loss is not computed and virtual tokens are not prepended.
    Since: PEFT 0.18.
    Remove when: these methods run without a task.
    """
    if config.peft_type in _CAUSAL_ONLY and not config.task_type:
        config.task_type = "CAUSAL_LM"


def without_defaults(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a forward pass that were given.

    Reaches: the call of `PeftModelForCausalLM.forward`.
    Why: it passes every argument that a language model may have, as None, and ``return_dict``.
    Since: PEFT 0.18.
    Remove when: PEFT passes the given arguments only.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    given.pop("return_dict", None)
    return given


def base_name(name: str) -> str:
    """The name that a wrapped model's weight has in the model without PEFT.

    Reaches: the prefix of names under PEFT's wrapper.
    Why: parts of a model are known by their paths in transformers' class, which also begin with ``model.``.
    Since: PEFT 0.18.
    Remove when: PEFT has a function for it.
    """
    return name.removeprefix("base_model.model.")


def is_virtual_token(name: str) -> bool:
    """Whether a weight of a wrapped model belongs to virtual tokens.

    Reaches: the attribute ``prompt_encoder`` of `PeftModel`.
    Why: virtual tokens are weights of no module of the model.
    Since: PEFT 0.18.
    Remove when: PEFT has a function for it.
    """
    return name.startswith("prompt_encoder.")


def freeze_rank_counters(model: Any) -> None:
    """Freeze the counters of AdaLoRA's ranks.

    Reaches: the parameters called ``ranknum``.
    Why: PEFT does not save them, and moving them to a device makes them trainable.
    Since: PEFT 0.18.
    Remove when: they are buffers.
    """
    for name, weight in model.named_parameters():
        if ".ranknum." in name:
            weight.requires_grad_(False)


def load_virtual_tokens(wrapper: Any, folder: Any, *, trainable: bool) -> Any:
    """Load saved virtual tokens into a new wrapper.

    Reaches: `PeftModel.load_adapter` for a method that learns virtual tokens.
    Why: `PeftModel.from_pretrained` refuses to make them trainable, because of prefixes with a projection, which it
    does not save.
    Since: PEFT 0.18.
    Remove when: ``from_pretrained(…, is_trainable=True)`` takes virtual tokens without a projection.
    """
    wrapper.load_adapter(folder, "default", is_trainable=trainable)
    return wrapper

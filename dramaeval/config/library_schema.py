"""The settings of ``peft``, ``quantization``, ``zero`` and ``logger``, a part of `dramaeval.config.schema`.

The first three are arguments of PEFT, transformers and DeepSpeed, with these libraries' defaults. A node accepts further
arguments of its class. If the classes of a library declare different types for an argument, the type here accepts all of them.
`dramaeval.config.keys.check_arguments` compares names and types with the class under ``_target_``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dramaeval.config.fields import MAPPING, OpenNode, Target, setting

_DTYPES = ("float32", "float16", "bfloat16")


@dataclass(kw_only=True)
class PeftConfig(Target):
    """``peft``: a PEFT configuration class and its arguments; null: full fine-tuning."""

    r: int | None = setting(8, help="LoRA: rank", minimum=1)
    lora_alpha: float | None = setting(8, help="LoRA: scale of the update, alpha / r", above=0)
    lora_dropout: float = setting(0.0, help="LoRA: dropout of its inputs", minimum=0, below=1)
    bias: str = setting(
        "none", help="LoRA: biases that are trained", choices=("none", "all", "lora_only")
    )
    use_dora: bool = setting(False, help="LoRA: learn the magnitude of the weights separately")
    use_rslora: bool = setting(False, help="LoRA: scale by alpha / sqrt(r)")
    init_r: int = setting(12, help="AdaLoRA: rank at the start", minimum=1)
    target_r: int = setting(8, help="AdaLoRA: mean rank at the end", minimum=1)
    total_step: int | None = setting(
        None, help="AdaLoRA: steps of the training; null: those of the run", minimum=1
    )
    tinit: int | None = setting(
        0,
        help="AdaLoRA: step at which ranks begin to shrink; null: a tenth of total_step",
        minimum=0,
    )
    tfinal: int | None = setting(
        0,
        help="AdaLoRA: steps at the end with final ranks; null: three tenths of total_step",
        minimum=0,
    )
    deltaT: int = setting(  # noqa: N815 - PEFT's name
        1, help="AdaLoRA: steps between two changes of ranks", minimum=1
    )
    beta1: float = setting(0.85, help="AdaLoRA: smoothing of the sensitivity", minimum=0, maximum=1)
    beta2: float = setting(0.85, help="AdaLoRA: smoothing of the uncertainty", minimum=0, maximum=1)
    orth_reg_weight: float = setting(
        0.5,
        help="AdaLoRA: weight of the orthogonality term, added once in each optimizer step",
        minimum=0,
    )
    num_virtual_tokens: int | None = setting(
        None, help="prefix and prompt tuning: learnt tokens", minimum=1
    )
    prefix_projection: bool = setting(False, help="prefix tuning: learn through a projection")
    encoder_hidden_size: int | None = setting(
        None, help="prefix tuning: width of the projection", minimum=1
    )
    prompt_tuning_init: str = setting(
        "RANDOM",
        help="prompt tuning: first values of the tokens",
        choices=("RANDOM", "TEXT", "SAMPLE_VOCAB"),
    )
    prompt_tuning_init_text: str | None = setting(
        None, help="prompt tuning: the text of prompt_tuning_init=TEXT"
    )


@dataclass(kw_only=True)
class QuantizationConfig(Target):
    """``quantization``: transformers.BitsAndBytesConfig and its arguments, for the language model; empty: none."""

    load_in_4bit: bool = setting(False, help="4 bits per weight")
    load_in_8bit: bool = setting(False, help="8 bits per weight")
    bnb_4bit_quant_type: str = setting("fp4", help="4 bits: data type", choices=("nf4", "fp4"))
    bnb_4bit_use_double_quant: bool = setting(False, help="4 bits: also quantise the scales")
    bnb_4bit_compute_dtype: str | None = setting(
        None,
        help="4 bits: data type of products; null: data type of the other weights",
        choices=_DTYPES,
    )
    bnb_4bit_quant_storage: str | None = setting(
        None,
        help="4 bits: data type in which the weights are stored; null: uint8",
        choices=(*_DTYPES, "float64", "int8", "uint8"),
    )
    llm_int8_threshold: float = setting(
        6.0, help="8 bits: inputs above this value are multiplied in 16 bits", minimum=0
    )
    llm_int8_skip_modules: list[str] | None = setting(
        None, help="layers that are not quantised; null: all outside the language model"
    )
    llm_int8_enable_fp32_cpu_offload: bool = setting(
        False, help="8 bits: layers on the CPU stay in 32 bits"
    )
    llm_int8_has_fp16_weight: bool = setting(False, help="8 bits: keep the weights in 16 bits")


@dataclass(kw_only=True)
class OffloadConfig(OpenNode):
    """The settings that both kinds of offloading have."""

    device: str = setting("none", help="target of offloading", choices=("none", "cpu", "nvme"))
    nvme_path: str | None = setting(None, help="folder on the disk of device=nvme")
    pin_memory: bool = setting(True, help="use page-locked memory, which is copied faster")


@dataclass(kw_only=True)
class OffloadOptimizerConfig(OffloadConfig):
    """``zero.zero_optimization.offload_optimizer``: moves optimizer states off the GPU."""

    buffer_count: int = setting(4, help="buffers of device=nvme", minimum=0)
    ratio: float = setting(
        1.0, help="stage 3: share of the states that is moved", minimum=0, maximum=1
    )


@dataclass(kw_only=True)
class OffloadParamConfig(OffloadConfig):
    """``zero.zero_optimization.offload_param``: moves weights off the GPU, at stage 3."""

    buffer_count: int = setting(5, help="buffers of device=nvme", minimum=0)
    buffer_size: float = setting(100_000_000, help="elements of a buffer", minimum=0)
    max_in_cpu: float = setting(
        1_000_000_000, help="elements in host memory with device=nvme", minimum=0
    )


# Sizes are floats, because Hydra reads 2e8 as a float; DeepSpeed converts them to whole numbers.
@dataclass(kw_only=True)
class ZeroOptimizationConfig(OpenNode):
    """``zero.zero_optimization``: what is divided among the processes, and how it is sent."""

    stage: int = setting(
        help="1: optimizer states are divided; 2: also gradients; 3: also weights",
        choices=("1", "2", "3"),
    )
    contiguous_gradients: bool = setting(True, help="keep gradients in one block of memory")
    overlap_comm: bool | None = setting(
        None, help="on a GPU: send gradients during the backward pass; null: at stage 3"
    )
    reduce_scatter: bool = setting(
        True, help="each process receives its part of the gradients only"
    )
    reduce_bucket_size: float = setting(500_000_000, help="elements in one message", above=0)
    allgather_partitions: bool = setting(True, help="gather weights by all-gather, not broadcast")
    allgather_bucket_size: float = setting(500_000_000, help="elements in one message", minimum=0)
    sub_group_size: float = setting(
        1_000_000_000, help="stage 3: elements of an optimizer step at once", minimum=0
    )
    round_robin_gradients: bool = setting(
        False, help="stage 2 with offloading: copy gradients in turns"
    )
    stage3_prefetch_bucket_size: float = setting(
        50_000_000, help="elements gathered in advance", minimum=0
    )
    stage3_param_persistence_threshold: float = setting(
        100_000, help="smaller weights are kept complete in every process", minimum=0
    )
    stage3_max_live_parameters: float = setting(
        1_000_000_000, help="elements kept complete at once", minimum=0
    )
    stage3_max_reuse_distance: float = setting(
        1_000_000_000,
        help="weights stay if they are used again within this many elements",
        minimum=0,
    )
    stage3_gather_16bit_weights_on_model_save: bool = setting(
        False, help="gather the weights of a saved model"
    )
    offload_optimizer: Any = setting(
        None, help="optimizer states", kind=MAPPING, node=OffloadOptimizerConfig
    )
    offload_param: Any = setting(None, help="weights", kind=MAPPING, node=OffloadParamConfig)


@dataclass(kw_only=True)
class ZeroConfig(OpenNode):
    """``zero``: DeepSpeed's settings; null: none."""

    zero_optimization: Any = setting(
        dict, help="the stage and its settings", kind=MAPPING, node=ZeroOptimizationConfig
    )
    zero_force_ds_cpu_optimizer: bool = setting(
        True, help="with offload_optimizer: accept only DeepSpeed's optimizer for the CPU"
    )
    communication_data_type: str | None = setting(
        None,
        help="data type of messages; null: that of the weights",
        choices=("fp32", "fp16", "bf16"),
    )
    seq_parallel_communication_data_type: str = setting(
        "fp32", help="data type of messages between parts of a sequence"
    )
    prescale_gradients: bool = setting(False, help="divide gradients before they are summed")
    gradient_predivide_factor: float = setting(
        1.0, help="with prescale_gradients: the divisor", above=0
    )
    data_types: Any = setting(None, help="data types of gradients", kind=MAPPING)
    disable_allgather: bool = setting(False, help="without effect at stages 1 to 3")
    disable_python_gc: bool = setting(False, help="turn Python's garbage collection off")
    activation_checkpointing: Any = setting(
        None, help="settings of activation checkpointing", kind=MAPPING
    )
    checkpoint: Any = setting(None, help="settings of checkpoints", kind=MAPPING)
    aio: Any = setting(None, help="settings of reads and writes with device=nvme", kind=MAPPING)
    flops_profiler: Any = setting(None, help="settings of the FLOPS profiler", kind=MAPPING)
    comms_logger: Any = setting(None, help="settings of the log of messages", kind=MAPPING)
    wall_clock_breakdown: bool = setting(False, help="log the time of each part of a step")
    memory_breakdown: bool = setting(False, help="log memory")
    dump_state: bool = setting(False, help="log DeepSpeed's settings")
    log_level: str | None = setting(None, help="level of DeepSpeed's own log")


@dataclass(kw_only=True)
class WandbConfig:
    """``logger.wandb``: Weights & Biases."""

    enabled: bool = setting(False, help="log to Weights & Biases; logger=wandb sets it")
    mode: str = setting(
        "auto",
        help="auto: online if a key is known (WANDB_API_KEY or wandb login), else offline",
        choices=("auto", "online", "offline"),
    )
    project: str = setting("dramaeval", help="project")
    entity: str | None = setting(None, help="team; null: your account")
    name: str | None = setting(None, help="name of the run; null: the end of the run folder's path")
    group: str | None = setting(None, help="group of runs")
    tags: list[str] = setting([], help="tags of the run")


@dataclass(kw_only=True)
class LoggerConfig:
    """``logger``: training curves, in addition to the files of the run folder."""

    tensorboard: bool = setting(
        False, help="write TensorBoard files to the run folder's tensorboard/"
    )
    wandb: WandbConfig = setting(WandbConfig, help="Weights & Biases")
    mlflow: bool = setting(False, help="log to MLflow; variables MLFLOW_* set the target")
    trackio: bool = setting(False, help="log to Trackio")
    swanlab: bool = setting(False, help="log to SwanLab; variables SWANLAB_* set the target")
    comet: bool = setting(False, help="log to Comet; variables COMET_* set the target")

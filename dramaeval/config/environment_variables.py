"""The environment variables that libraries read and that can change a run, with a policy and a reason for each.

`dramaeval.startup` applies this table. A test searches the installed libraries' sources for variables and fails if one
is missing in the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Policy(Enum):
    """What `dramaeval.startup` does with a variable."""

    default = "set to `value` if the user has not set it"
    overridden = "removed, with a warning, and recorded: a setting decides instead"
    refused = "an error if its value is true; else removed"
    ranks = "checked together by `dramaeval.distributed.rank_variables`; an error if they contradict each other"
    recorded = "kept, and written to environment.json"
    harmless = "kept: it cannot change a result"


@dataclass(frozen=True)
class Variable:
    """One line of the table.

    Attributes:
        name: name of the variable; a ``*`` at its end stands for any further characters.
        policy: its policy.
        reason: for an overridden variable, the setting that decides instead; for a refused variable, the fix.
        value: the value that the policy ``default`` sets.
    """

    name: str
    policy: Policy
    reason: str
    value: str = ""


def _rows(policy: Policy, reason: str, names: str) -> list[Variable]:
    return [Variable(name, policy, reason) for name in names.split()]


_NO_REQUEST = "no request leaves the machine unless the user asks for it"
_FSDP = "FSDP is not offered: use zero=zero3, which splits weights over processes as well"
_DEVICE = "device decides"

TABLE: tuple[Variable, ...] = (
    # Network requests
    Variable("HF_HUB_DISABLE_TELEMETRY", Policy.default, _NO_REQUEST, "1"),
    Variable("WANDB_ERROR_REPORTING", Policy.default, _NO_REQUEST, "false"),
    Variable("VLLM_NO_USAGE_STATS", Policy.default, _NO_REQUEST, "1"),
    # transformers asks the hub to convert a checkpoint that has no safetensors.
    Variable("DISABLE_SAFETENSORS_CONVERSION", Policy.default, _NO_REQUEST, "1"),
    # transformers sends progress to a server that the environment names.
    Variable("DISABLE_KUBEFLOW_INTEGRATION", Policy.default, _NO_REQUEST, "TRUE"),
    # transformers downloads kernels, which are code, if the package `kernels` is installed.
    Variable("USE_HUB_KERNELS", Policy.default, _NO_REQUEST, "NO"),
    # How a model is trained
    Variable(
        "ACCELERATE_MIXED_PRECISION",
        Policy.overridden,
        "model.dtype and the machine's GPU decide; without a GPU everything is computed in float32",
    ),
    Variable("ACCELERATE_USE_CPU", Policy.overridden, _DEVICE),
    Variable("ACCELERATE_TORCH_DEVICE", Policy.overridden, _DEVICE),
    Variable("DS_ACCELERATOR", Policy.overridden, _DEVICE),
    Variable("ACCELERATE_USE_DEEPSPEED", Policy.overridden, "zero decides"),
    Variable("ACCELERATE_DEEPSPEED_*", Policy.overridden, "zero decides"),
    Variable("ACCELERATE_CONFIG_DS_FIELDS", Policy.overridden, "zero decides"),
    Variable("ACCELERATE_DYNAMO_*", Policy.overridden, "trainer.args.torch_compile decides"),
    Variable(
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
        Policy.overridden,
        "batch.global or trainer.args.gradient_accumulation_steps decides",
    ),
    Variable(
        "ACCELERATE_GRADIENT_CLIPPING", Policy.overridden, "trainer.args.max_grad_norm decides"
    ),
    Variable("ACCELERATE_USE_FSDP", Policy.refused, _FSDP),
    Variable("ACCELERATE_USE_MEGATRON_LM", Policy.refused, "Megatron-LM is not offered"),
    Variable("ACCELERATE_USE_SAGEMAKER", Policy.refused, "start the run with processes=N"),
    Variable(
        "ACCELERATE_USE_PARALLELISM_CONFIG",
        Policy.refused,
        "only data parallelism (processes=N) and ZeRO (zero=…) are offered",
    ),
    Variable("ACCELERATE_LOG_LEVEL", Policy.harmless, "verbosity"),
    Variable("ACCELERATE_ENABLE_RICH", Policy.harmless, "the format of tracebacks"),
    Variable("ACCELERATE_*", Policy.overridden, "the run's settings decide"),
    *_rows(
        Policy.overridden,
        "the run's settings decide",
        "FSDP_* MEGATRON_LM_* PARALLELISM_CONFIG_* DEEPSPEED_ZERO3_*",
    ),
    Variable("LOCAL_SIZE", Policy.overridden, "processes or torchrun decides"),
    Variable("TRUST_REMOTE_CODE", Policy.overridden, "model.trust_remote_code decides"),
    Variable(
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
        Policy.overridden,
        "files of a checkpoint are read as data and never as code",
    ),
    # The rank of a process
    *_rows(
        Policy.ranks,
        "torchrun, SLURM or launch.py sets them; with values of an earlier run, a run waits for processes that do not exist",
        "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT TORCHELASTIC_* "
        "PMI_RANK PMI_SIZE OMPI_COMM_WORLD_* MV2_COMM_WORLD_* MPI_LOCAL* SLURM_PROCID SLURM_STEP_NUM_TASKS",
    ),
    *_rows(
        Policy.harmless,
        "torchrun's bookkeeping, or read by launchers that are not used here",
        "NODE_RANK GROUP_* ROLE_* NPROC PYTHON_EXEC FORK_LAUNCHED CROSS_RANK CROSS_SIZE",
    ),
    # Kernels, precision and threads
    *_rows(
        Policy.recorded,
        "changes which kernels, precision or number of threads compute",
        "TORCH* PYTORCH_* CUDA* CUBLAS* CUDNN* NVIDIA_* NCCL_* GLOO_* UCX_* OMP_* GOMP_* KMP_* MKL_* "
        "OPENBLAS_* GOTO_* BLIS_* VECLIB_* NUMEXPR_* ONEDNN_* DNNL_* ATEN_* NUMBA_* TRITON_* FLASH_ATTENTION_* "
        "XLA_* PJRT_* TPU_* PT_HPU_* XPU_* ZE_* HIP_* ROCR_* HSA_* ROCSHMEM_* NVSHMEM_* MORI_* ASCEND_* "
        "HCCL_* NPU_* MLU_* MUSA_* SDAA_* NEURON_* HABANA_* BNB_* DS_* DEEPSPEED_* DCP_* SM_* SMDATAPARALLEL_* "
        "SAGEMAKER_* USE_TORCH_XLA USE_TORCH USE_TF USE_JAX USE_LIBUV MALLOC_* GLIBC_TUNABLES LD_PRELOAD "
        "LD_LIBRARY_PATH PYTHONHASHSEED SKLEARN_* SCIPY_* LIBROSA_*",
    ),
    # Files that are read
    *_rows(
        Policy.recorded,
        "changes which weights or which code of a library is used",
        "HF_* HUGGINGFACE_* TRANSFORMERS_* PYTORCH_TRANSFORMERS_* TRL_* PEFT_* VLLM_* XDG_CACHE_HOME "
        "DRAMAEVAL_* HYDRA_*",
    ),
    *_rows(
        Policy.recorded,
        "the job's number and size",
        "SLURM_JOB_ID SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID SLURM_NTASKS SLURM_NNODES "
        "SLURM_CPUS_PER_TASK SLURM_JOB_PARTITION SLURM_JOB_NODELIST SLURM_RESTART_COUNT",
    ),
    *_rows(
        Policy.harmless,
        "describes the job; dramaeval.distributed reads what it needs",
        "SLURM_* SLURMD_* SBATCH_* SRUN_* SALLOC_* SUBMITIT_* _TEST_CLUSTER_ DLTS_JOB_ID DLWS_JOB_ID "
        "AZUREML_* AZ_BATCH* JOB_ID",
    ),
    # Variables without influence on results
    *_rows(
        Policy.harmless,
        "gives access and is a secret",
        "HF_TOKEN* HF_OIDC_* HUGGING_FACE_HUB_TOKEN WANDB_API_KEY OAUTH_* OPENID_* WEBHOOK_SECRET "
        "ACTIONS_ID_TOKEN_* AWS_* OPENREWARD_*",
    ),
    *_rows(
        Policy.harmless,
        "belongs to a logger: logger decides which is used",
        "WANDB_* MLFLOW_* COMET_* CLEARML_* SWANLAB_* TENSORBOARD_* DISABLE_MLFLOW_INTEGRATION "
        "HF_DAGSHUB_* HF_DVCLIVE_* HF_MLFLOW_* KUBEFLOW_* RAY_SCOPE BRANCH",
    ),
    *_rows(
        Policy.harmless,
        "verbosity, colours, debugging",
        "AUTOEP_FOLDING_DEBUG_* LOGLEVEL TQDM_* NO_COLOR VSCODE_PID NETWORK_DEBUG_* "
        "DISABLE_LOGS_WHILE_COMPILING LOGGER_METHODS_TO_EXCLUDE_FROM_DISABLE FR_TRACE_VERBOSE_OUTPUT "
        "PYTHONBREAKPOINT TOKENIZERS_PARALLELISM CI GITHUB_ACTIONS",
    ),
    *_rows(
        Policy.harmless,
        "asks for less telemetry, or says where the program runs",
        "DISABLE_TELEMETRY DO_NOT_TRACK EAGER_IMPORT CLAUDE_CONFIG_DIR SPACE_* SBX_* VERTEX_PRODUCT "
        "DATABRICKS_RUNTIME_VERSION TRAINING_JOB_ARN ECS_CONTAINER_METADATA_URI PYTHONPATH",
    ),
)

_BY_NAME = {row.name: row for row in TABLE if not row.name.endswith("*")}
#: The longest prefixes first, so that the most specific row is used.
_BY_PREFIX = sorted(
    ((row.name[:-1], row) for row in TABLE if row.name.endswith("*")),
    key=lambda pair: len(pair[0]),
    reverse=True,
)


def row_of(name: str) -> Variable | None:
    """The row of the table for a variable; None if there is none."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    return next((row for prefix, row in _BY_PREFIX if name.startswith(prefix)), None)

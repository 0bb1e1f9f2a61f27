"""Training: one compiled step, one loop, hooks, checkpoints, metrics."""

from symmerge_jax.training._checkpoint import (
    checkpoint_steps,
    load_metadata,
    load_params,
    restore_checkpoint,
    save_checkpoint,
)
from symmerge_jax.training._hooks import (
    checkpoint_hook,
    evaluation_hook,
    keep_best,
    log_hook,
    progress_hook,
    write_results,
)
from symmerge_jax.training._loop import Hook, Interrupted, train
from symmerge_jax.training._metrics import (
    Series,
    append_metrics,
    read_metrics,
    truncate_metrics,
)
from symmerge_jax.training._optimizer import make_optimizer
from symmerge_jax.training._processes import (
    from_first,
    is_first,
    on_first,
    over_processes,
    own_copy,
    together,
    value_from_first,
)
from symmerge_jax.training._progress import Progress
from symmerge_jax.training._sharding import (
    check_batch,
    make_mesh,
    own_rows,
    replicate,
    shard_batch,
)
from symmerge_jax.training._state import TrainState, eval_params, init_state
from symmerge_jax.training._step import make_train_step

__all__ = [
    "Hook",
    "Interrupted",
    "Progress",
    "Series",
    "TrainState",
    "append_metrics",
    "check_batch",
    "checkpoint_hook",
    "checkpoint_steps",
    "eval_params",
    "evaluation_hook",
    "from_first",
    "init_state",
    "is_first",
    "keep_best",
    "load_metadata",
    "load_params",
    "log_hook",
    "make_mesh",
    "make_optimizer",
    "make_train_step",
    "on_first",
    "over_processes",
    "own_copy",
    "own_rows",
    "progress_hook",
    "read_metrics",
    "replicate",
    "restore_checkpoint",
    "save_checkpoint",
    "shard_batch",
    "together",
    "train",
    "truncate_metrics",
    "value_from_first",
    "write_results",
]

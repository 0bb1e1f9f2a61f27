"""Whole experiments, run from a config into a folder; and what they share."""

from symmerge_jax.experiments._config import (
    check_config,
    config_hash,
    load_config,
    load_config_file,
    override_config,
    save_config,
)
from symmerge_jax.experiments._main import define_config_flag, run_main
from symmerge_jax.experiments._registry import (
    EXPERIMENTS,
    check_script,
    find_experiment,
)
from symmerge_jax.experiments._workdir import (
    open_workdir,
    update_workdir,
    versions,
)

__all__ = [
    "EXPERIMENTS",
    "check_config",
    "check_script",
    "config_hash",
    "define_config_flag",
    "find_experiment",
    "load_config",
    "load_config_file",
    "open_workdir",
    "override_config",
    "run_main",
    "save_config",
    "update_workdir",
    "versions",
]

"""What every experiment shares: configs, folders of runs, and scripts."""

from experiments.harness._config import (
    check_config,
    config_hash,
    load_config,
    load_config_file,
    override_config,
    save_config,
)
from experiments.harness._experiment import (
    Experiment,
    Results,
    draw,
    evaluate,
    legacy,
    run,
)
from experiments.harness._main import define_config_flag, run_main
from experiments.harness._tables import (
    Cell,
    Number,
    Table,
    measures,
    to_html,
    to_markdown,
    to_text,
)
from experiments.harness._workdir import open_workdir, update_workdir, versions

__all__ = [
    "Cell",
    "Experiment",
    "Number",
    "Results",
    "Table",
    "check_config",
    "config_hash",
    "define_config_flag",
    "draw",
    "evaluate",
    "legacy",
    "load_config",
    "load_config_file",
    "measures",
    "open_workdir",
    "override_config",
    "run",
    "run_main",
    "save_config",
    "to_html",
    "to_markdown",
    "to_text",
    "update_workdir",
    "versions",
]

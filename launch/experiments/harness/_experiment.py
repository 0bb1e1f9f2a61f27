"""What an experiment is, and the one way to run it.

A config is taken apart once, by `plan`, before any work. From there on values go down:
`run` sees the plan and a folder, and no config.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax

from experiments.harness import _config, _files, _tables, _workdir
from symmerge_jax import files, plots, training

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Results = dict[str, Any]
"""What `results.json` holds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment that `launch/train.py` runs.

    Attributes:
      name: `config.experiment`.
      defaults: returns every config key that exists, with a value of its type.
      complete: returns a config with all its keys, or raises what is wrong with one;
        None to add those of `defaults`, where keys do not depend on values.
      plan: takes a checked config apart, and raises what is wrong with it: unused keys,
        values that do not fit, missing files. It computes and writes nothing.
      run: does the work of a plan in a folder, resumes what an earlier start left
        there, and returns the results.
      tables: the results as tables, for the terminal and for reports.
      evaluate: measures the trained model of a finished run again; None if a run leaves
        no model.
      may_change: config keys, beside those of every run, that may differ when a run is
        resumed: they say what is compared, not what is trained.
      check_output: raises an error if what a finished run exports for others is missing
        or damaged; None if it exports nothing.
      many_processes: whether the processes of `jax.distributed` may share a run.
      draw: the figures, by the names of their files, from the results and the arrays
        of `results.npz` (empty if a run writes none); None if there are no figures, or
        `run` draws them.
    """

    name: str
    defaults: Callable[[], _config.Config]
    complete: Callable[[_config.Config], _config.Config] | None = None
    plan: Callable[[_config.Config], Any]
    run: Callable[[Any, pathlib.Path], Results]
    tables: Callable[[Results], Sequence[_tables.Table]]
    evaluate: Callable[[Any, pathlib.Path], Results] | None = None
    may_change: tuple[str, ...] = ()
    check_output: Callable[[pathlib.Path], Any] | None = None
    many_processes: bool = False
    draw: Callable[[Results, _files.Arrays], Mapping[str, "Figure"]] | None = None

    def completed(self, config: _config.Config) -> _config.Config:
        """Return a config with all its keys, as `complete` does."""
        if self.complete is not None:
            return self.complete(config)
        return _config.check_config(config, self.defaults())


def run(
    experiment: Experiment, config: _config.Config, workdir: str | os.PathLike
) -> Results:
    """Run an experiment, or resume it; `results.json` in its folder holds the results.

    After `jax.distributed.initialize()` all processes make the same call, and the first
    writes the folder, which they share.

    Args:
      experiment: what to run.
      config: keys and values; those that are missing have their defaults.
      workdir: folder of the run.

    Raises:
      ValueError: unknown or unused keys, values or data that do not fit, a workdir of
        another config, or one that another process works in; many processes whose
        folder or config is not the same, or an experiment that they cannot share.
      TypeError: a value of another type.
      FileNotFoundError: missing data.
      FloatingPointError: a loss that is not finite; names the step.
    """
    if jax.process_count() > 1 and not experiment.many_processes:
        raise ValueError(
            f"{experiment.name!r} does not run in {jax.process_count()} processes:"
            " start one."
        )
    with training.together():
        config = experiment.completed(config)
        plan = experiment.plan(config)
    may_change = {*_workdir.MAY_CHANGE, *experiment.may_change}
    with contextlib.ExitStack() as stack:

        def open_folder() -> None:
            stack.enter_context(_workdir.locked(workdir))
            _workdir.open_workdir(workdir, config, may_change=may_change)

        training.on_first(open_folder)
        folder = pathlib.Path(workdir).expanduser().absolute()
        with training.together():
            if not training.is_first():
                _workdir.check_shared(folder, config)
        results = experiment.run(plan, folder)
        written = training.on_first(lambda: _write(experiment, folder, results))
        return _files.read_json(folder / "results.json") if written is None else written


def evaluate(
    experiment: Experiment,
    workdir: str | os.PathLike,
    config: _config.Config | None = None,
) -> Results:
    """Measure the trained model of a finished run again.

    Args:
      experiment: what was run.
      workdir: folder of the run.
      config: keys and values; only those of `may_change` may differ from the run's.

    Returns:
      The results, which replace those in `results.json`.

    Raises:
      FileNotFoundError: if there is no finished run.
      ValueError: for an experiment that trains nothing, a damaged file, or a key that
        may not differ.
    """
    folder = pathlib.Path(workdir).expanduser().absolute()
    old = _config.load_config(folder / "config.json")
    if experiment.evaluate is None:
        raise ValueError(
            f"'{folder}' is a run of {experiment.name!r}, which leaves no model to"
            f" measure again: see '{folder / 'results.json'}'."
        )
    with _workdir.locked(folder):
        new = old if config is None else config
        new = _workdir.merge_config(folder, new, may_change=experiment.may_change)
        new = experiment.completed(new)
        plan = experiment.plan(new)
        _config.save_config(folder / "config.json", new)
        return _write(experiment, folder, experiment.evaluate(plan, folder))


def draw(
    experiment: Experiment, results: str | os.PathLike, out: str | os.PathLike
) -> list[pathlib.Path]:
    """Draw the figures of finished results; nothing is computed again.

    Args:
      experiment: what was run.
      results: its `results.json`, of any name; the arrays are in the `.npz` file of
        the same name beside it.
      out: folder of the figures.

    Returns:
      The figures, without `.png` and `.pdf`.

    Raises:
      FileNotFoundError: if there are no results.
      ValueError: for a damaged file.
    """
    if experiment.draw is None:
        return []
    results = pathlib.Path(results)
    found, arrays = _files.read_json(results), {}
    if results.with_suffix(".npz").exists():
        arrays, _ = files.read_npz(results.with_suffix(".npz"))
    figures = experiment.draw(found, arrays)
    return [
        plots.save_figure(figure, pathlib.Path(out, name))
        for name, figure in figures.items()
    ]


def _write(experiment: Experiment, folder: pathlib.Path, results: Results) -> Results:
    _files.write_json(folder / "results.json", results)
    draw(experiment, folder / "results.json", folder)
    return results

"""What a reproduction consists of: stages in order, each a config and what it needs."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments import harness, registry
from experiments.paper import _words
from experiments.populations import make_classifier_zoo, make_zoo

SECTIONS = tuple(_words.TITLES)
"""Sections of the report that a stage may belong to, in their order."""

_KEYS = ("config", "label", "needs", "section", "set")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One zoo or one run.

    Attributes:
      name: what it is called on the command line.
      label: what it is called in the report.
      section: one of `SECTIONS`.
      source: the config file, with its variant.
      overrides: `key=value`, as on a command line.
      needs: the stage that each key of the config names the output of.
      config: all keys, with the paths of what it needs.
      experiment: what is run; None for a zoo.
      output: the zoo file, or the folder of the run.
    """

    name: str
    label: str
    section: str
    source: str
    overrides: tuple[str, ...]
    needs: Mapping[str, str]
    config: harness.Config
    experiment: harness.Experiment | None
    output: pathlib.Path

    @property
    def is_zoo(self) -> bool:
        """Whether the output is a zoo."""
        return self.experiment is None

    def run(self) -> None:
        """Make the output, or resume an earlier start."""
        if self.experiment is not None:
            harness.run(self.experiment, self.config, self.output)
        elif self.config.get("experiment") == "make_classifier_zoo":
            make_classifier_zoo.run(self.config, self.output)
        else:
            make_zoo.run(self.config, self.output)

    @property
    def results(self) -> pathlib.Path:
        """The file that a run ends with."""
        return self.output / "results.json"


def stage(
    config: str,
    *overrides: str,
    section: str,
    label: str,
    needs: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Describe a stage of `make_config`.

    Args:
      config: name of a config file, with its variant: `file.py:variant`.
      *overrides: `key=value`, as on a command line.
      section: one of `SECTIONS`.
      label: name in the report.
      needs: by key of the config, the stage whose output it has to name.
    """
    return {
        "config": config,
        "set": tuple(overrides),
        "needs": tuple(f"{key}={name}" for key, name in (needs or {}).items()),
        "section": section,
        "label": label,
    }


def stages(
    section: str, rows: Mapping[str, tuple[Any, ...]]
) -> dict[str, dict[str, Any]]:
    """Describe stages of a section: by name `(label, needs, config, *overrides)`."""
    return {
        name: stage(*source, section=section, label=label, needs=needs)
        for name, (label, needs, *source) in rows.items()
    }


def comparisons(
    encoders: Mapping[str, str],
    decoded: Collection[str],
    options: Mapping[str, tuple[str, ...]],
) -> dict[str, dict[str, Any]]:
    """Describe the stages that compare the autoencoders of INRs of a reproduction.

    Args:
      encoders: by the name of the stage that trains each, its label in figures; the
        first is the one that templates are decoded with.
      decoded: names of those whose decoded paths are drawn.
      options: overrides by the name of the stage, for those that have some.

    Returns:
      By name: maps of latents, failure mode, paths between twins and between fits.
    """
    named = {f"canonicalizers.{label}": name for name, label in encoders.items()}
    drawn = {key: name for key, name in named.items() if name in decoded}
    paths = {"canonicalizer": next(iter(encoders)), **drawn}

    def row(name, label, needs):
        return {name: (label, needs, f"{name}.py", *options.get(name, ()))}

    return {
        **stages("latents", row("latent_maps", "latents of all encoders", named)),
        **stages("failure", row("failure_mode", "twins that look least alike", named)),
        **stages("interpolation", row("orbit_interpolation", "twins", paths)),
        **stages("interpolation", row("independent_inrs", "separate fits", paths)),
    }


def make_config(
    title: str,
    folder: str | os.PathLike,
    stages: Mapping[str, dict[str, Any]],
    *,
    note: str = "",
) -> harness.Config:
    """Return the config of a reproduction.

    `order` holds the names, because a config sorts its keys.

    Args:
      title: heading of the report.
      folder: of the config files that stages name.
      stages: from `stage`, by name, in the order in which they are to run.
      note: what a reader of the report has to know before the numbers.
    """
    path, here = pathlib.Path(folder).absolute(), pathlib.Path.cwd()
    return ConfigDict(
        {
            "experiment": "reproduce",
            "title": title,
            "note": note,
            "folder": str(
                path.relative_to(here) if path.is_relative_to(here) else path
            ),
            "order": tuple(stages),
            "stages": dict(stages),
        }
    )


def read(config: harness.Config, workdir: pathlib.Path) -> dict[str, Stage]:
    """Return the stages by name, after every check that needs no computation.

    Raises:
      ValueError: invalid keys, values, names or needs; names the stage.
      FileNotFoundError: no such config file.
    """
    if config.get("experiment") != "reproduce":
        raise ValueError(
            f"config.experiment is {config.get('experiment')!r}, not 'reproduce': give"
            " a config such as launch/configs/paper_smoke.py."
        )
    order: Any = config.order
    if sorted(order) != sorted(config.stages):
        raise ValueError(
            f"config.order names {sorted(order)}, config.stages {sorted(config.stages)}"
        )
    plan: dict[str, Stage] = {}
    for name in order:
        try:
            plan[name] = _read_stage(config, name, plan, workdir)
        except (ValueError, TypeError, FileNotFoundError) as error:
            raise type(error)(f"stage {name!r}: {error}") from error
    return plan


def _read_stage(config, name: str, plan: dict[str, Stage], workdir) -> Stage:
    values = config.stages[name]
    if sorted(values) != sorted(_KEYS):
        raise ValueError(f"its keys are {sorted(values)}, wanted {sorted(_KEYS)}")
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError("a name consists of a-z, 0-9 and _")
    if values.section not in SECTIONS:
        raise ValueError(f"section is {values.section!r}, known are {SECTIONS}")
    source = os.path.join(config.folder, values.config)
    needs = dict(_pair(text) for text in values.needs)
    if unknown := [need for need in needs.values() if need not in plan]:
        raise ValueError(f"it needs {unknown[0]!r}, which is not a stage before it")
    paths = {key: str(plan[need].output) for key, need in needs.items()}
    loaded = harness.load_config_file(source)
    given = harness.override_config(loaded, {**dict(map(_pair, values.set)), **paths})
    name_of = given.get("experiment")
    experiment = None
    if name_of == "make_classifier_zoo":
        full = make_classifier_zoo.complete_config(given)
    elif name_of is None:
        full = harness.check_config(given, make_zoo.default_config())
    else:
        experiment = registry.find_experiment(name_of)
        full = experiment.completed(given)
    return Stage(
        name=name,
        label=values.label,
        section=values.section,
        source=source,
        overrides=tuple(values.set),
        needs=needs,
        config=full,
        experiment=experiment,
        output=workdir / (f"runs/{name}" if experiment else f"zoos/{name}.zoo"),
    )


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"{text!r} is not of the form key=value")
    return key, value

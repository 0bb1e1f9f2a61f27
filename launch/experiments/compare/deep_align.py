"""Learn to align the networks of a population, and compare with every other way.

Deep-Align (Navon et al. 2024, arXiv 2310.13397): a matcher learns from many networks of
one kind which neurons of two of them do the same, and aligns new pairs in one pass.
Two matchers are trained, with the published encoder of weights and with ours, which
watches what neurons do on learned inputs. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    *.zoo                        the populations, unless the config names files
    models/NAME_SEED/            metrics, checkpoints, and `matcher`, for `load_matcher`
    cells/POPULATION/            paths of aligned pairs, by method and seed
    results.json, results.npz    the numbers; all curves
    paths_POPULATION             losses along paths, as .png and .pdf
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict, config_dict

from experiments import harness, populations
from experiments.compare import (
    _align_cells,
    _align_checks,
    _align_results,
    _bring,
    _methods,
)
from experiments.populations import pairable
from experiments.train import matcher_training
from symmerge_jax import deep_align, learning

METHODS = (
    *("naive", "matching_p", "matching_p_best", "matching_best"),
    *("deep_align", "deep_align_sweeps", "deep_align_best"),
    *("ours", "ours_sweeps", "ours_best", "deep_align_sinkhorn", "ours_sinkhorn"),
    *("activation_matching", "sinkhorn", "matching_sinkhorn"),
)
"""Methods for pairs that a config may name, in the order of tables."""

CROWD_METHODS = (
    *("naive", "merge_many", "universe", "deep_align", "deep_align_merge_many"),
    *("ours", "ours_merge_many"),
)
"""Methods for crowds; all are compared."""

_TITLES = {
    "held_out": "held-out networks",
    "rotated": "images turned by 90 degrees",
    "other_data": "networks trained on {source}",
    "other_width": "networks of widths {sizes}",
}


class Plan(NamedTuple):
    """What a run does; all else is as in `default_config`.

    Attributes:
      kind: of networks.
      sources: where the populations come from, by name; matchers are trained on the
        first.
      titles: of the populations.
      marks: text that differs for another population of the same name.
      methods: names, by population.
      crowd_methods: names of those for crowds.
      matchers: to be trained, by name.
      sizes: of crowds; none for no crowds.
      options: keywords of solvers, by method.
    """

    kind: str
    sources: dict[str, populations.Source]
    titles: dict[str, str]
    marks: dict[str, str]
    methods: dict[str, tuple[str, ...]]
    crowd_methods: tuple[str, ...]
    matchers: dict[str, matcher_training.Plan]
    seeds: tuple[int, ...]
    num_pairs: int
    num_points: int
    sizes: tuple[int, ...]
    num_crowds: int
    options: Mapping[str, Mapping[str, Any]]
    num_random_starts: int
    chunk_size: int

    def context(
        self,
        population: populations.Population,
        matcher: deep_align.Matcher | None = None,
    ) -> _bring.Context:
        """Return what methods use for the networks of a population."""
        return _bring.Context(
            network=population.network,
            matcher=matcher,
            task=functools.partial(learning.task_losses, population.network),
            options=self.options,
            num_random_starts=self.num_random_starts,
            chunk_size=self.chunk_size,
        )


def default_config(
    kind: str = "mlp", features: dict[str, str] | None = None
) -> harness.Config:
    """Return every key that exists; see `launch/configs` for complete runs.

    `networks` is the kind of networks and `population` a config of the maker of their
    zoo, which is used if `zoo` names no file; `population.data` are the images that the
    networks were trained on in both cases. `deep_align` and `ours` describe the
    matchers, see `matcher_training.default_options`; `models` are those that are
    trained, each
    with every one of `seeds`. `augment` and, for INRs, `distort` change the copies that
    they are to recognise. No `methods` are all that apply, and no `other_methods`,
    those of the further tables, are `methods`.

    Tables: `num_pairs` pairs of held-out networks for each seed, on `num_test_inputs`
    images; methods with data see `num_train_inputs` (None for all). Further tables are
    added by `rotated` (images turned by 90 degrees, MLPs only), by `other_data.source`
    (networks trained on those images) and by `other_width.hidden_sizes` (or channels);
    their networks are read from `zoo`, or `num_networks` are made. `crowds` are of more
    than two held-out classifiers, whose mean is measured.

    Args:
      kind: of networks, "mlp", "cnn" or "siren".
      features: kind of features by matcher, where it is another than usual.
    """
    if kind not in pairable.KINDS:
        raise ValueError(f"config.networks is {kind!r}, known are {pairable.KINDS}.")
    kinds = matcher_training.KINDS | (features or {})
    return ConfigDict(
        {
            "experiment": "deep_align",
            "networks": kind,
            "seeds": (0, 1, 2),
            "zoo": config_dict.placeholder(str),
            "population": pairable.zoo_config(kind),
            "split": {"val_fraction": 0.1, "test_fraction": 0.1, "seed": 0},
            "models": matcher_training.MODELS,
            **{
                name: matcher_training.default_options(kinds[name])
                for name in matcher_training.MODELS
            },
            "augment": {"noise": 0.01, "dropout": 0.05, "prune": 0.1, "scale": 0.1},
            "distort": {"rotation": 0.0, "scale": 0.0, "shift": 0.0},
            "num_val_pairs": 64,
            "num_val_inputs": 256,
            "methods": (),
            "other_methods": (),
            "num_pairs": 32,
            "num_points": 25,
            "num_train_inputs": config_dict.placeholder(int),
            "num_test_inputs": config_dict.placeholder(int),
            "num_random_starts": 9,
            "sinkhorn": {
                "cost": "random_lambda",
                "num_steps": 1000,
                "learning_rate": 0.1,
                "batch_size": 100,
                "eval_size": 500,
                "eval_every": 50,
            },
            "crowds": {"sizes": (), "num_crowds": 20},
            "chunk_size": 16,
            "rotated": False,
            "other_data": {"source": config_dict.placeholder(str), **_made_or_read()},
            "other_width": {"hidden_sizes": (), **_made_or_read()},
        }
    )


def complete(config: harness.Config) -> harness.Config:
    """Return a config with the defaults of its kinds of networks and features."""
    kinds = {
        name: config.get(name, {}).get("features", {}).get("kind", kind)
        for name, kind in matcher_training.KINDS.items()
    }
    defaults = default_config(config.get("networks", "mlp"), kinds)
    return harness.check_config(config, defaults)


def plan(config: harness.Config) -> Plan:
    """Take a config apart; see `Experiment`."""
    _align_checks.check_values(config)
    sources = pairable.sources(config)
    planned: dict[str, Any] = {name: x.planned for name, x in sources.items()}
    spec, sizes = planned["held_out"].network.spec, tuple(config.crowds.sizes)
    titles = {
        "source": config.other_data.source,
        "sizes": ", ".join(map(str, config.other_width.hidden_sizes)),
    }
    chosen = {
        key: _methods.choose(config[key], METHODS, spec, config.models, f"config.{key}")
        for key in ("methods", "other_methods")
    }
    if not config.other_methods:
        chosen["other_methods"] = chosen["methods"]
    found = Plan(
        kind=config.networks,
        sources=sources,
        titles={name: _TITLES[name].format(**titles) for name in planned},
        marks={name: pairable.mark(config, name) for name in planned},
        methods={
            name: chosen["methods" if name == "held_out" else "other_methods"]
            for name in planned
        },
        crowd_methods=_methods.choose((), CROWD_METHODS, spec, config.models),
        matchers={name: matcher_training.plan(config, name) for name in config.models},
        seeds=tuple(config.seeds),
        num_pairs=config.num_pairs,
        num_points=config.num_points,
        sizes=sizes,
        num_crowds=config.crowds.num_crowds,
        options={
            "activation_matching": {"chunk_size": 250},
            "sinkhorn": config.sinkhorn.to_dict(),
        },
        num_random_starts=config.num_random_starts,
        chunk_size=config.chunk_size,
    )
    if sizes:
        _align_checks.check_crowds(found, planned["held_out"])
    for name, population in planned.items():
        _align_checks.check_methods(found, name, population, planned["held_out"])
    return found


def run(plan: Plan, folder: pathlib.Path) -> harness.Results:
    """Make the population, train the matchers, and compare all methods."""
    population = plan.sources["held_out"].load(folder)
    models = {
        (name, seed): matcher_training.trained(
            matcher, population, seed, folder / "models" / f"{name}_{seed}"
        )
        for name, matcher in plan.matchers.items()
        for seed in plan.seeds
    }
    return _compare(plan, models, folder)


def evaluate(plan: Plan, folder: pathlib.Path) -> harness.Results:
    """Compare all methods with the trained matchers; what was measured is kept."""
    return _compare(plan, _load(folder, plan.matchers, plan.seeds), folder)


def check_output(folder: pathlib.Path) -> None:
    """Refuse a finished run with a missing (FileNotFoundError) or damaged matcher."""
    config = harness.load_config(folder / "config.json")
    _load(folder, config.models, config.seeds)


def shorten(config: harness.Config) -> harness.Config:
    """Let a run end in seconds, with matchers that learn nothing; in place."""
    config.seeds = (0,)
    config.num_pairs, config.num_points, config.num_random_starts = 2, 3, 1
    config.num_val_pairs, config.num_val_inputs = 1, 16
    for name in matcher_training.MODELS:
        model = config[name]
        model.num_steps, model.batch_size, model.warmup_steps = 3, 2, 1
        model.log_every = model.evaluate_every = model.checkpoint_every = 2
    config.deep_align.features.update(width=4, num_layers=2)
    config.sinkhorn.update(num_steps=2, eval_every=2)
    return config


def _compare(plan: Plan, models, folder: pathlib.Path) -> harness.Results:
    loaded = {name: source.load(folder) for name, source in plan.sources.items()}
    cells = _align_cells.pairs(plan, loaded, models, folder)
    crowds = _align_cells.crowds(plan, loaded["held_out"], models, folder)
    arrays = {
        f"{'/'.join(map(str, job))}/{key}": value
        for job, cell in cells.items()
        for key, value in cell.items()
    }
    harness.save_arrays(folder / "results.npz", arrays)
    return _align_results.summarize(plan, loaded, models, cells, crowds)


def _load(folder: pathlib.Path, names, seeds) -> dict[Any, deep_align.TrainedMatcher]:
    return {
        (name, seed): deep_align.load_matcher(
            folder / "models" / f"{name}_{seed}" / "matcher"
        )
        for name in names
        for seed in seeds
    }


def _made_or_read() -> dict[str, Any]:
    """Return the keys of other networks, new: keys that share a placeholder are one."""
    return {"zoo": config_dict.placeholder(str), "num_networks": 40}


EXPERIMENT = harness.Experiment(
    name="deep_align",
    defaults=default_config,
    complete=complete,
    plan=plan,
    run=run,
    tables=_align_results.tables,
    draw=_align_results.draw,
    evaluate=evaluate,
    check_output=check_output,
    may_change=(
        *("models", "seeds", "methods", "other_methods", "crowds.sizes", "chunk_size"),
        *("rotated", "other_data.source", "other_data.zoo"),
        *("other_data.num_networks", "other_width.hidden_sizes", "other_width.zoo"),
        "other_width.num_networks",
    ),
)

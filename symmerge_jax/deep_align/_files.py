"""A trained matcher as a value that can be used, saved and loaded.

A saved matcher is a folder with two files:

    matcher.json          format, version, architecture, features, statistics, and free
                          metadata (such as held-out errors)
    weights.safetensors   the parameters of the matcher
"""

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any

import jax

from symmerge_jax import metanets, networks, storage, symmetry
from symmerge_jax.deep_align import _aligner, _build, _matcher

FORMAT = storage.ModelFormat("matcher", "matcher", ("architecture", "features"))


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedMatcher:
    """A trained matcher of one architecture.

    Attributes:
      architecture: see `networks.build`.
      features: see `deep_align.build`.
      statistics: of the population that it was trained on.
      variables: parameters of the matcher.
      metadata: JSON values, such as the barrier of held-out pairs.
    """

    architecture: Mapping[str, Any]
    features: Mapping[str, Any]
    statistics: metanets.Statistics = dataclasses.field(repr=False)
    variables: _matcher.Variables = dataclasses.field(repr=False)
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def matcher(self) -> _matcher.Matcher:
        """The matcher as pure functions, for the networks that it was trained on."""
        return _build.build(self.architecture, self.features, self.statistics)

    def aligner(
        self, *, num_sweeps: int = 2, architecture: Mapping[str, Any] | None = None
    ) -> _aligner.DeepAlign:
        """Return the matcher as a solver.

        Args:
          num_sweeps: see `DeepAlign`.
          architecture: of the networks to be aligned, where it is not that of training.
            It may differ in the widths of hidden layers, on which no parameter depends.
        """
        matcher = self.matcher
        if architecture is not None:
            if _form(networks.build(architecture)) != _form(matcher.network):
                raise ValueError(
                    f"The matcher was trained on {dict(self.architecture)}, the"
                    f" networks are {dict(architecture)}: they may differ in the widths"
                    " of hidden layers only. Train a matcher of this architecture."
                )
            matcher = _build.build(architecture, self.features, self.statistics)
        return _aligner.DeepAlign(
            matcher=matcher, variables=self.variables, num_sweeps=num_sweeps
        )


def save_matcher(path: str | os.PathLike, trained: TrainedMatcher) -> None:
    """Write a matcher to the folder `path`, whole or not at all; it replaces one there.

    Args:
      path: the folder; refused if it holds anything but a matcher.
      trained: what to write.
    """
    storage.save_model(path, FORMAT, trained)


def load_matcher(path: str | os.PathLike) -> TrainedMatcher:
    """Return the matcher that `save_matcher` or a training run wrote.

    Args:
      path: its folder, `models/NAME_SEED` in the workdir of `launch/train.py`.

    Raises:
      FileNotFoundError: if there is none; says where training puts it.
      ValueError: a file that is damaged, of an unknown format, or does not fit the
        other, or a parameter that is not finite.
    """
    return storage.load_model(
        path, FORMAT, TrainedMatcher, lambda model: model.matcher.init
    )


def _form(network: networks.Network) -> tuple[Any, ...]:
    """Return all of an architecture but the widths of its hidden layers."""
    params = jax.eval_shape(network.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((1, *network.input_shape), "float32")
    hidden = jax.eval_shape(network.features, params, inputs)
    grids = {name: x.shape[:-1] for name, x in hidden.items()}
    leaves, fixed = symmetry.flatten(params), []
    for path, axes in network.spec.atomic_axes:
        lengths = zip(leaves[path].shape, axes, strict=True)
        fixed.append([n for n, axis in lengths if not _is_hidden(axis, network.spec)])
    return network.spec, dict(network.activations), inputs.shape, grids, fixed


def _is_hidden(axis: symmetry.Axis | None, spec: symmetry.SymmetrySpec) -> bool:
    return (
        axis is not None and spec.space(axis.space).group is not symmetry.Group.TRIVIAL
    )

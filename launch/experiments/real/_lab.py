"""The measures of networks, alone, merged, and on the line between two."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

import symmerge_jax
from experiments.compare import repairs
from experiments.populations import real_networks
from experiments.real import _bring
from symmerge_jax import merging, networks, symmetry
from symmerge_jax.typing import Params


class Lab:
    """Measures the networks of a `merge_networks.Plan`, and what becomes of them."""

    def __init__(self, plan: Any, params: Sequence[Params]):
        self._plan, self._subject, self._params = plan, plan.subject, params
        self._network = symmerge_jax.trace(
            self._subject.apply, params[0], self._subject.unlabelled[:2]
        )
        self._log_probabilities = jax.jit(
            lambda apply, params, x: jax.nn.log_softmax(apply(params, x)),
            static_argnums=0,
        )
        self._parent = functools.lru_cache(maxsize=None)(
            lambda number: self._outputs(params[number])
        )
        self._brought = functools.lru_cache(maxsize=8)(self._bring)
        self._inputs = functools.lru_cache(maxsize=8)(self._make_inputs)

    def network(self, number: int) -> dict[str, Any]:
        """Return the measures of a network, `statistics/MEASURE` re-estimated."""
        found: dict[str, Any] = dict(self._score(self._parent(number)))
        if self._subject.has_statistics:
            column = repairs.column("statistics", False)
            alone = self._alone(self._params[number], column, (number,))
            again = self._outputs(alone)
            score = self._score(again).items()
            found |= {f"statistics/{key}": value for key, value in score}
        return found

    def ensemble(self, size: int, group: int) -> dict[str, Any]:
        """Return the measures of the mean of outputs, and distances to it."""
        parents = [self._parent(row) for row in self._rows(size, group)]
        return {
            **self._score(_ensemble(parents)),
            **_distances(_ensemble(parents), parents),
        }

    def merged(
        self, size: int, group: int, method: str, column: repairs.Column
    ) -> dict[str, Any]:
        """Return the measures of a merged and repaired network."""
        aligned, seconds = self._brought(method, size, group)
        rows = self._rows(size, group)
        mean = _bring.mean(aligned)
        found = self._outputs(self._repaired(mean, aligned, column, rows))
        parents = [self._parent(row) for row in rows]
        return {
            **self._score(found),
            **_distances(found, parents),
            "seconds": np.asarray(seconds),
        }

    def path(
        self, num_points: int, method: str, column: repairs.Column
    ) -> dict[str, np.ndarray]:
        """Return `MEASURE` `[T]` on the line between the first two networks."""
        aligned, _ = self._brought(method, 2, 0)
        scores, rows = [], self._rows(2, 0)
        for lam in np.linspace(0, 1, num_points):
            if lam in (0, 1):
                point = self._alone(symmetry.rows(aligned, int(lam)), column, rows)
            else:
                weights = (1 - lam, lam)
                point = _bring.mean(aligned, weights)
                point = self._repaired(point, aligned, column, rows, weights)
            scores.append(self._score(self._outputs(point)))
        return _stacked(scores)

    def partial(self, method: str, share: float) -> dict[str, np.ndarray]:
        """Return the measures of a partial merge of the first two, and its `size`.

        The size is the number of its parameters, in units of that of one network.
        """
        aligned, _ = self._brought(method, 2, 0)
        module, example = self._subject.wider(share), self._subject.example
        wide = jax.eval_shape(module.init, jax.random.key(0), example)
        spec, a, b = self._network.spec, *(symmetry.rows(aligned, i) for i in (0, 1))
        apart = _growth(spec, symmetry.flatten(a), symmetry.flatten(wide))
        merged = merging.merge_partially(a, b, spec, apart)
        rows = self._rows(2, 0)
        if self._subject.has_statistics:
            network = symmerge_jax.trace(module.apply, merged, example)
            merged = merging.repair(
                *(merged, _bring.stack([merged] * 2), network),
                inputs=self._inputs(rows),
            ).params
        num = [sum(x.size for x in jax.tree.leaves(tree)) for tree in (merged, a)]
        scores = self._score(self._outputs(merged, module.apply))
        return {**scores, "size": np.asarray(num[0] / num[1])}

    def _rows(self, size: int, group: int) -> tuple[int, ...]:
        return tuple(self._plan.groups[group, :size].tolist())

    def _bring(self, method: str, size: int, group: int) -> tuple[Params, float]:
        rows = self._rows(size, group)
        crowd = _bring.Crowd(
            params=[self._params[row] for row in rows],
            network=self._network,
            inputs=self._inputs(rows),
            example=self._subject.example,
            chunk_size=self._subject.batch_size,
            key=jax.random.fold_in(jax.random.key(self._plan.seed), group),
        )
        return _bring.bring(method, crowd)

    def _alone(self, params: Params, column: repairs.Column, rows) -> Params:
        """Return a network repaired as if merged with itself."""
        return self._repaired(params, _bring.stack([params] * 2), column, rows)

    def _repaired(
        self, params: Params, aligned: Params, column, rows, weights=None
    ) -> Params:
        if not column.methods:
            return params
        return merging.repair(
            *(params, aligned, self._network, column.methods),
            inputs=None if column.is_free else self._inputs(rows),
            weights=weights,
        ).params

    def _make_inputs(self, rows: tuple[int, ...]) -> np.ndarray:
        """Return what methods that bring networks together and mend them may see."""
        start = self._subject.unlabelled
        if not self._subject.is_synthetic:
            return start
        key = jax.random.fold_in(jax.random.key(self._plan.seed), max(rows))
        parents = _bring.stack([self._params[row] for row in rows])
        found = merging.synthesize(
            parents, self._network, len(start), start=start, key=key
        )
        return np.asarray(found)

    def _outputs(self, params: Params, apply: Any = None) -> np.ndarray:
        """Return log-probabilities of all classes on the test examples."""
        device, apply = jax.device_put(params), apply or self._subject.apply
        return networks.map_batches(
            lambda x: self._log_probabilities(apply, device, x),
            self._subject.test.inputs,
            self._subject.batch_size,
        )

    def _score(self, outputs: np.ndarray) -> real_networks.Scores:
        return self._subject.score(outputs, self._subject.test.targets)


def _growth(spec: symmetry.SymmetrySpec, narrow, wide) -> dict[str, int]:
    """Return by hidden space how many neurons a wider network has more."""
    hidden = {space.name for space in spec.matched_spaces}
    return {
        axis.space: wide[path].shape[number] - narrow[path].shape[number]
        for path, axes in spec.atomic_axes
        for number, axis in enumerate(axes)
        if axis is not None and axis.space in hidden
    }


def _ensemble(parents: list[np.ndarray]) -> np.ndarray:
    """Return the log-probabilities of the mean logits."""
    mean = np.mean(parents, axis=0)
    return np.asarray(jax.nn.log_softmax(mean))


def _distances(found: np.ndarray, parents: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return how far outputs are from those of the parents, and of the ensemble.

    Means of total variation, in units of that between the parents.
    """
    pairs = itertools.combinations(parents, 2)
    unit = np.mean([_variation(a, b) for a, b in pairs])
    to_parents = np.array([_variation(found, parent) for parent in parents])
    return {
        "to_parents": to_parents / unit,
        "to_ensemble": np.asarray(_variation(found, _ensemble(parents)) / unit),
    }


def _variation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean total variation of distributions given as logarithms."""
    return float(np.abs(np.exp(a) - np.exp(b)).sum(axis=-1).mean() / 2)


def _stacked(scores: list[real_networks.Scores]) -> dict[str, np.ndarray]:
    return {key: np.array([score[key] for score in scores]) for key in scores[0]}

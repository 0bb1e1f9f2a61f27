"""Where parameters meet data on a tape: layers, their biases, and statistics.

A *layer* is a product or a convolution of data with one array of weights that is used
nowhere else, and stands in the program as it is or rearranged. Behind it come its bias
and what else is added: in a residual network the stream. What the layer should compute
is then known from the sum.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from symmerge_jax.merging._tape import Step, Tape
from symmerge_jax.typing import Array, Path

_LINEAR = ("convert_element_type", "neg", "mul", "add", "sub", "copy")
_REARRANGE = ("reshape", "transpose", "squeeze", "broadcast_in_dim", "expand_dims")


class Origin(NamedTuple):
    """A value that is a parameter, rearranged.

    Attributes:
      path: of the parameter.
      steps: what rearranges it; none changes a number or leaves one out, but for the
        rows of a scan.
    """

    path: Path
    steps: tuple[Step, ...]


class Layer(NamedTuple):
    """A linear operation on data, with weights of its own.

    Attributes:
      step: its number on the tape.
      data: number of the operand that depends on data.
      weight: number of the other operand, and where it comes from.
      origin: see `weight`.
      features: axes of the result that run over the neurons written.
      written: number of the result, with the bias.
      bias: number of what is added as bias, and where it comes from; None without.
      bias_origin: see `bias`.
      end: number of the value that tells what is wanted: the sum of the result and of
        values that are known before.
      added: these values, and the sign of the result.
      is_free: whether statistics of `end` are subtracted from it: constants mean
        nothing.
      is_output: whether it writes a result of the network.
    """

    step: int
    data: int
    weight: int
    origin: Origin
    features: tuple[int, ...]
    written: int
    bias: int | None
    bias_origin: Origin | None
    end: int
    added: tuple[int, ...]
    is_free: bool
    is_output: bool


class Statistic(NamedTuple):
    """A statistic of data, where it first meets data.

    Attributes:
      step: number of the first step that takes that value.
      path: of the parameter.
      row: which row of it, in scans.
      data: number of the value whose statistic it is.
      axes: per axis of that value the axis of the parameter, None to average over it.
      is_variance: whether it is a variance; else a mean.
    """

    step: int
    path: Path
    row: tuple[int, ...]
    data: int
    axes: tuple[int | None, ...]
    is_variance: bool


class Sites(NamedTuple):
    """What may be changed in a network.

    Attributes:
      layers: by number of their step.
      statistics: by number of the step before which they are needed.
      kept: why other weights stay as they are, by path.
    """

    layers: dict[int, Layer]
    statistics: dict[int, list[Statistic]]
    kept: dict[Path, str]


def find(tape: Tape, statistics: Collection[Path]) -> Sites:
    """Return the layers and statistics of a tape.

    Args:
      tape: of the network.
      statistics: paths of parameters that are statistics of data.
    """
    finder = _Finder(tape, frozenset(statistics))
    layers, found, kept = {}, {}, {}
    for number, step in enumerate(tape.steps):
        if tape.on_data.isdisjoint(step.results):
            continue
        layer = finder.layer(number, step)
        if isinstance(layer, Layer):
            layers[number] = layer
        elif layer is not None:
            kept |= layer
        for met in finder.statistics(step):
            found.setdefault(met.step, []).append(met)
    for path in tape.leaves:
        if path in statistics:
            continue
        if not any(path == layer.origin.path for layer in layers.values()):
            kept.setdefault(path, "no layer of its own")
    for layer in layers.values():
        kept.pop(layer.origin.path, None)
        if layer.bias_origin is not None:
            kept.pop(layer.bias_origin.path, None)
    return Sites(layers, found, kept)


class _Finder:
    def __init__(self, tape: Tape, statistics: frozenset[Path]):
        self.tape = tape
        self.known = statistics
        self.paths = {number: path for path, number in tape.leaves.items()}
        self.seen: set[tuple] = set()

    # Layers.

    def layer(self, number: int, step: Step) -> Layer | dict[Path, str] | None:
        """Return the layer of a step, why its weights stay, or None if it is none."""
        if step.name not in ("dot_general", "conv_general_dilated"):
            return None
        on_data = [v in self.tape.on_data for v in step.operands]
        if on_data.count(True) != 1:
            return None
        data, weight = (step.operands[on_data.index(x)] for x in (True, False))
        origin = self.origin(weight)
        if origin is None:
            return None
        reason = self._refusal(step, weight, origin)
        if reason is not None:
            return {origin.path: reason}
        features = _features(step, self.tape, on_data.index(False))
        written, bias, bias_origin = self._bias(step.results[0], features)
        end, added = self._sum(written, number)
        return Layer(
            step=number,
            data=data,
            weight=weight,
            origin=origin,
            features=features,
            written=written,
            bias=bias,
            bias_origin=bias_origin,
            end=end,
            added=added,
            is_free=self._is_free(end),
            is_output=written in self.tape.outputs,
        )

    def origin(self, value: int) -> Origin | None:
        """Return where a value comes from, None unless it is a parameter rearranged."""
        steps: list[Step] = []
        while value not in self.paths:
            maker = self.tape.makers.get(value)
            if maker is None or len(self.tape.users.get(value, ())) > 1:
                return None
            step = self.tape.steps[maker]
            source = step.operands[0]
            same = np.prod(self.tape.shapes[value]) == np.prod(self.tape.shapes[source])
            is_row = step.name == "row"
            if step.name not in (*_REARRANGE, "convert_element_type", "row"):
                return None
            if not (same or is_row):
                return None
            steps.append(step)
            value = source
        users = [self.tape.steps[n].name for n in self.tape.users.get(value, ())]
        if len(users) > 1 and set(users) != {"row"}:
            return None
        return Origin(self.paths[value], tuple(steps[::-1]))

    def _refusal(self, step: Step, weight: int, origin: Origin) -> str | None:
        if origin.path in self.known:
            return "a statistic"
        if step.name == "dot_general":
            batch = step.options["dimension_numbers"][1]
            return "a product for each of a batch" if batch[0] else None
        if step.operands[1] != weight:
            return "a convolution with data"
        if step.options["batch_group_count"] != 1:
            return "a convolution by groups of samples"
        if any(d != 1 for d in step.options["lhs_dilation"]):
            return "a transposed convolution"
        return None

    def _bias(self, value: int, features: Sequence[int]):
        """Return the value behind the bias, the bias, and where that comes from."""
        step = self._only_user(value)
        if step is None or step.name != "add":
            return value, None, None
        [other] = [v for v in step.operands if v != value] or [value]
        if other in self.tape.on_data or value == other:
            return value, None, None
        out = self.tape.shapes[value]
        expected = [out[i] if i in features else 1 for i in range(len(out))]
        result = step.results[0]
        if (maker := self.tape.makers.get(other)) is not None:
            wide = self.tape.steps[maker]  # some libraries write out all samples
            dims = wide.options.get("broadcast_dimensions")
            if self.tape.shapes[other] == out and dims == tuple(features):
                other = wide.operands[0]
                expected = [out[i] for i in features]
        origin = self.origin(other)
        shape = list(self.tape.shapes[other])
        if origin is None or origin.path in self.known or shape != expected:
            return value, None, None
        return result, other, origin

    def _sum(self, value: int, number: int) -> tuple[int, tuple[int, ...]]:
        """Return the last sum of a value and of others that are made before a step."""
        added: list[int] = []
        while (step := self._only_user(value)) is not None and step.name == "add":
            [other] = [v for v in step.operands if v != value] or [value]
            early = self.tape.makers.get(other, -1) < number
            if other == value or (other in self.tape.on_data and not early):
                break
            if self.tape.shapes[step.results[0]] != self.tape.shapes[value]:
                break
            added.append(other)
            value = step.results[0]
        return value, tuple(added)

    def _only_user(self, value: int) -> Step | None:
        users = self.tape.users.get(value, ())
        if len(users) != 1 or value in self.tape.outputs:
            return None
        return self.tape.steps[users[0]]

    def _is_free(self, value: int) -> bool:
        """Return whether a running mean is subtracted from a value, and no more."""
        step = self._only_user(value)
        if step is None or step.name != "sub" or step.operands[0] != value:
            return False
        paths = self._parameters(step.operands[1])
        return len(paths) == 1 and paths <= self.known

    # Statistics.

    def statistics(self, step: Step) -> list[Statistic]:
        """Return the statistics that meet data for the first time at a step."""
        found = []
        data = [v for v in step.operands if v in self.tape.on_data]
        if len(data) != 1:
            return []
        for value in step.operands:
            if value in self.tape.on_data:
                continue
            for path, row, linear, axes in self._uses(value):
                if (path, row) in self.seen:
                    continue
                self.seen.add((path, row))
                source = self._first_of_norm(data[0])
                ndim = len(self.tape.shapes[source])
                lifted = (None,) * (ndim - len(axes)) + axes
                first = self.tape.users[source][0]
                found.append(Statistic(first, path, row, source, lifted, not linear))
        return found

    def _first_of_norm(self, value: int) -> int:
        """Return what a normalisation reads, for a value in the middle of it."""
        while (maker := self.tape.makers.get(value)) is not None:
            step = self.tape.steps[maker]
            data = [v for v in step.operands if v in self.tape.on_data]
            rest = [v for v in step.operands if v not in self.tape.on_data]
            if len(data) != 1 or step.name not in ("sub", "mul", "div", "add"):
                return value
            if not any(self._uses(v) for v in rest):
                return value
            value = data[0]
        return value

    def _parameters(self, value: int) -> set[Path]:
        if value in self.paths:
            return {self.paths[value]}
        maker = self.tape.makers.get(value)
        if maker is None:
            return set()
        return set().union(*map(self._parameters, self.tape.steps[maker].operands))

    def _uses(self, value: int) -> list[tuple[Path, tuple[int, ...], bool, tuple]]:
        """Return the statistics in a value: path, rows, whether linear, and axes."""
        if value in self.paths:
            path = self.paths[value]
            axes = tuple(range(len(self.tape.shapes[value])))
            return [(path, (), True, axes)] if path in self.known else []
        if value in self.tape.on_data or value not in self.tape.makers:
            return []
        step = self.tape.steps[self.tape.makers[value]]
        found = []
        for operand in step.operands:
            for path, row, linear, axes in self._uses(operand):
                moved = _move_axes(step, self.tape, operand, axes)
                if step.name == "row":
                    row = (*row, step.options["index"])
                plain = (*_LINEAR, *_REARRANGE, "row")
                found.append((path, row, linear and step.name in plain, moved))
        return found


def _features(step: Step, tape: Tape, weight: int) -> tuple[int, ...]:
    """Return the axes of the result that come from the weights."""
    if step.name == "conv_general_dilated":
        return (step.options["dimension_numbers"].out_spec[1],)
    contracted = step.options["dimension_numbers"][0][weight]
    num = len(tape.shapes[step.operands[weight]]) - len(contracted)
    total = len(tape.shapes[step.results[0]])
    return tuple(range(num)) if weight == 0 else tuple(range(total - num, total))


def _move_axes(step: Step, tape: Tape, operand: int, axes: tuple) -> tuple:
    """Return of which axes of a parameter the axes of a result are."""
    out = tape.shapes[step.results[0]]
    if step.name == "transpose":
        return tuple(axes[i] for i in step.options["permutation"])
    if step.name == "broadcast_in_dim":
        moved: list[Any] = [None] * len(out)
        for i, j in enumerate(step.options["broadcast_dimensions"]):
            moved[j] = axes[i]
        return tuple(moved)
    if step.name in ("reshape", "squeeze", "expand_dims"):
        long = iter(a for a, n in zip(axes, tape.shapes[operand], strict=True) if n > 1)
        return tuple(next(long, None) if n > 1 else None for n in out)
    if step.name == "row":
        return tuple(a for a in axes[1:])
    return (None,) * (len(out) - len(axes)) + tuple(axes)


def undo(origin: Origin, value: Array, leaf: Array) -> Array:
    """Return a parameter whose rearranged form is a value.

    Args:
      origin: how it is rearranged.
      value: the value that is wanted.
      leaf: the parameter as it is, for what the value is only a row of.
    """
    before = [jnp.asarray(leaf)]
    for step in origin.steps:
        before.append(jnp.asarray(step.run(before[-1])[0]))
    for step, source in zip(origin.steps[::-1], before[-2::-1], strict=True):
        if step.name == "transpose":
            value = jnp.transpose(value, np.argsort(step.options["permutation"]))
        elif step.name == "row":
            value = source.at[step.options["index"]].set(value.astype(source.dtype))
        else:
            value = value.reshape(source.shape)
        value = value.astype(source.dtype)
    return value

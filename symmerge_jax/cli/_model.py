"""The model of a user: a factory in a module of his, or a saved spec."""

import importlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import symmerge_jax
from symmerge_jax import files, networks, storage, symmetry
from symmerge_jax.typing import Params, Path

_SHOWN = 4  # names in a message

CONTRACT = (
    "a function without arguments that returns what symmerge_jax.trace takes, a tuple"
    " (apply, params, inputs), or a networks.Network, or both: (network, params)"
)
"""What `--model=module:factory` names."""


class Model(NamedTuple):
    """What is known of the networks in files.

    Attributes:
      network: the architecture, or its symmetry alone.
      params: parameters like those in the files, or their shapes: any pytree; None
        where there are only names, which become nested dicts.
    """

    network: networks.Network | symmetry.SymmetrySpec
    params: Params | None

    def leaves(self) -> dict[Path, Any]:
        """Return what the files have to hold, by path; None where a shape is unknown.

        Keys of random numbers, functions and the like are no tensors.
        """
        if self.params is None:
            spec = symmetry.spec_of(self.network)
            return dict.fromkeys(spec.paths)
        return {
            path: leaf
            for path, leaf in symmetry.flatten(self.params).items()
            if symmetry.is_array(leaf)
            and not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended)
        }


class Bound(NamedTuple):
    """A checkpoint as the parameters of a model.

    Attributes:
      checkpoint: the file.
      params: tree of the model; its arrays are those of the checkpoint, not yet read.
      names: of the tensors in the file, by path.
      extra: names of the tensors that the model does not have.
    """

    checkpoint: storage.Checkpoint
    params: Params
    names: Mapping[Path, str]
    extra: tuple[str, ...]

    def arrays(self) -> list[Any]:
        """Return the tensors of the model, not yet read."""
        return [self.checkpoint.tensors[name] for name in self.names.values()]


def load_model(text: str) -> Model:
    """Return the model that `module:factory` names, also one in the working directory.

    Raises:
      ValueError: no such module or factory, or one that returns something else.
    """
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise ValueError(f"--model={text}: name a module and {CONTRACT}: net:model.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module.removesuffix(".py"))
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--model={text}: there is no module {error.name!r} in '{os.getcwd()}', and"
            " none is installed."
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"--model={text}: module {module!r} has no {name!r}.")
        found = getattr(found, part)
    content = found() if callable(found) and not isinstance(found, tuple) else found
    if isinstance(content, networks.Network):
        return Model(content, _shapes(content))
    if isinstance(content, symmetry.SymmetrySpec):
        return Model(content, None)
    if isinstance(content, tuple) and len(content) > 1:
        first, params, *_ = content
        if isinstance(first, networks.Network) and len(content) == 2:
            return Model(first, params)
        if callable(first):
            return Model(symmerge_jax.trace(*content), params)
    raise ValueError(
        f"--model={text}: got {type(content).__name__}, expected {CONTRACT}."
    )


def _shapes(network: networks.Network) -> Params | None:
    """Return the shapes of parameters; None of a traced network, which knows none."""
    if network.example is not None:
        return None
    return jax.eval_shape(network.init, jax.random.key(0))


def bind(
    checkpoint: storage.Checkpoint,
    model: Model,
    *,
    key: str | None,
    rename: Sequence[str],
    extra_keys: str,
) -> Bound:
    """Find the parameters of a model in a checkpoint.

    Args:
      checkpoint: the file.
      model: what it has to hold.
      key: part of the file that holds the parameters, "a.b"; None for all.
      rename: rules PATTERN=REPLACEMENT for names in the file, in this order.
      extra_keys: "carry" or "refuse" tensors that the model does not have.

    Raises:
      ValueError: missing or extra tensors, one of another shape or type, a rule that
        changes nothing or makes two names equal; names the file.
    """
    known = _names(checkpoint, key, rename)
    leaves = model.leaves()
    wanted = {symmetry.name(path): path for path in leaves}
    where = f"'{checkpoint.path}'"
    if missing := [name for name in wanted if name not in known]:
        raise ValueError(
            f"{where} lacks {len(missing)} of {len(wanted)} tensors of the model, as"
            f" {_some(missing)}; it has {_some(list(known))}{_hint(wanted, known)}."
        )
    names = {path: known[name] for name, path in wanted.items()}
    for path, leaf in leaves.items():
        _check_fits(where, names[path], leaf, checkpoint.tensors[names[path]])
    used = set(names.values())
    extra = tuple(name for name in checkpoint.tensors if name not in used)
    if extra and extra_keys == "refuse":
        raise ValueError(
            f"{where} has {len(extra)} tensors that the model does not have, as"
            f" {_some(extra)}: --extra-keys=carry writes them unchanged."
        )
    found = {path: checkpoint.tensors[name] for path, name in names.items()}
    if model.params is None:
        params = symmetry.unflatten(found)
    else:
        params = symmetry.rebuild(model.params, found)
    return Bound(checkpoint, params, names, extra)


def loaded(params: Params) -> Params:
    """Return parameters whose arrays are read, where they are not mapped."""
    return symmetry.rebuild(
        params,
        {
            path: np.asarray(leaf)
            for path, leaf in symmetry.flatten(params).items()
            if isinstance(leaf, files.LazyArray)
        },
    )


def _names(
    checkpoint: storage.Checkpoint, key: str | None, rename: Sequence[str]
) -> dict[str, str]:
    """Return the names in a file by what they are called in the model."""
    shown = {name: checkpoint.plain_name(name) for name in checkpoint.tensors}
    if key and not checkpoint.part:
        prefix = key.replace(".", "/") + "/"
        shown = {
            name: text.removeprefix(prefix)
            for name, text in shown.items()
            if text.startswith(prefix)
        }
        if not shown:
            tops = {name.partition("/")[0] for name in checkpoint.tensors}
            raise ValueError(
                f"'{checkpoint.path}' has no part {key!r}; there are"
                f" {_some(sorted(tops))}."
            )
    for rule in rename:
        shown = _renamed(checkpoint, shown, rule)
    known: dict[str, str] = {}
    for name, text in shown.items():
        if text in known:
            raise ValueError(
                f"'{checkpoint.path}': '{name}' and '{known[text]}' are both called"
                f" '{text}': change the rules of --rename."
            )
        known[text] = name
    return known


def _renamed(
    checkpoint: storage.Checkpoint, shown: Mapping[str, str], rule: str
) -> dict[str, str]:
    pattern, equals, replacement = rule.rpartition("=")
    try:
        if not equals:
            raise ValueError("no '='")
        new = {name: re.sub(pattern, replacement, x) for name, x in shown.items()}
    except (re.error, ValueError, IndexError) as error:
        raise ValueError(
            f"--rename={rule} is no rule PATTERN=REPLACEMENT of regular expressions"
            f" ({error})."
        ) from error
    if new == shown:
        raise ValueError(
            f"--rename={rule} changes no name in '{checkpoint.path}', as"
            f" {_some(list(shown.values()))}: omit it or correct it."
        )
    return new


def _check_fits(where: str, name: str, leaf: Any, tensor: Any) -> None:
    if leaf is None:
        return
    if tuple(leaf.shape) != tensor.shape:
        raise ValueError(
            f"{where}: tensor '{name}' has shape {tensor.shape}, in the model it has"
            f" {tuple(leaf.shape)}."
        )
    if symmetry.is_parameter(leaf) != symmetry.is_parameter(tensor):
        raise ValueError(
            f"{where}: tensor '{name}' is of type {tensor.dtype}, in the model it is"
            f" {leaf.dtype}."
        )


def _hint(wanted: Mapping[str, Any], known: Mapping[str, str]) -> str:
    """Return the rule that would make names fit, where a prefix does."""
    first, other = next(iter(wanted)), next(iter(known))
    for prefix, rule in (
        (first.partition("/")[0] + "/", "^={}"),
        (other.partition("/")[0] + "/", "^{}="),
        (other.partition(".")[0] + ".", "^{}="),
    ):
        if rule.startswith("^="):
            fits = {prefix + name for name in known}
        else:
            fits = {name.removeprefix(prefix) for name in known}
        if wanted.keys() <= fits:
            text = prefix if rule.startswith("^=") else re.escape(prefix)
            return f": pass --rename='{rule.format(text)}'"
    return ": map names with --rename='PATTERN=REPLACEMENT'"


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + rest

"""The pickle of a PyTorch checkpoint, as plain values, without an unpickler.

Unpickling may run any code, and even a harmless pickle of a few bytes can demand any
amount of memory. `parse` therefore steps through the opcodes itself. It knows what a
checkpoint of tensors is written with: numbers, text, dicts, lists, tuples, and the way
in which a tensor refers to its storage. All else is refused by name, and what it makes
takes memory in proportion to the length of the pickle.
"""

import pickletools
from typing import Any, NamedTuple

DTYPES = {
    "BFloat16Storage": "bfloat16",
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ShortStorage": "int16",
}
"""Type of the numbers of every kind of storage."""


class Storage(NamedTuple):
    """A block of numbers in the file: its key of `DTYPES`, name and size."""

    dtype: str
    name: str
    size: int


class Tensor(NamedTuple):
    """A view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Global(NamedTuple):
    """A name that the pickle refers to."""

    name: str


_ORDERED_DICT = "collections.OrderedDict"
_TENSOR = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_KNOWN = {_ORDERED_DICT, _TENSOR, _PARAMETER} | {f"torch.{n}" for n in DTYPES}
_MAX_RANK = 64  # of numpy
_MAX_NAME = 1000

_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_LITERALS = {
    *("BINFLOAT", "FLOAT", "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1"),
    *("LONG4", "BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE", "UNICODE"),
    *("BINBYTES", "BINBYTES8", "SHORT_BINBYTES"),
}
_SIZES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def parse(content: bytes) -> Any:
    """Return what a pickle of protocol 2 to 5 holds; anything unknown is a ValueError.

    These are nested dicts (of text or whole numbers), lists, tuples and plain values,
    with a `Tensor` for each tensor.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(content):
            name = opcode.name
            if name == "STOP":
                [value] = stack
                return value
            _step(name, argument, stack, memo)
    except (IndexError, KeyError) as error:
        raise ValueError(f"its pickle is damaged ({error!r})") from error
    raise ValueError("its pickle has no end")


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    """Do what one opcode says."""
    if name in _LITERALS:
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
        stack.append(_EMPTY[name]())
    elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
        memo[int(argument)] = stack[-1]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET", "GET"):
        stack.append(memo[int(argument)])
    elif name == "MARK":
        stack.append(_MARK)
    elif name == "TUPLE":
        stack.append(tuple(_pop_to_mark(stack)))
    elif name in _SIZES:
        values = [stack.pop() for _ in range(_SIZES[name])]
        stack.append(tuple(reversed(values)))
    elif name in ("SETITEM", "SETITEMS"):
        one = name == "SETITEM"
        items = [stack.pop(-2), stack.pop()] if one else _pop_to_mark(stack)
        _set_items(stack[-1], items)
    elif name in ("APPEND", "APPENDS"):
        values = [stack.pop()] if name == "APPEND" else _pop_to_mark(stack)
        if type(stack[-1]) is not list:
            raise ValueError("refused, it appends to what is not a list")
        stack[-1].extend(values)
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        if name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
        else:
            attribute, module = stack.pop(), stack.pop()
        stack.append(_global(module, attribute))
    elif name == "REDUCE":
        arguments, function = stack.pop(), stack.pop()
        stack.append(_call(function, arguments))
    elif name == "BUILD":  # of `_metadata` beside the tensors of a state dict
        state = stack.pop()
        if type(stack[-1]) is not dict or type(state) is not dict:
            raise ValueError("refused, it sets attributes of what is not a dict")
    elif name == "BINPERSID":
        stack.append(_storage(stack.pop()))
    elif name not in ("PROTO", "FRAME"):
        raise ValueError(f"refused, it holds more than tensors: opcode {name}")


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    """Pop what lies above the last mark, and the mark."""
    values = []
    while (value := stack.pop()) is not _MARK:
        values.append(value)
    return values[::-1]


def _set_items(target: Any, items: list[Any]) -> None:
    if type(target) is not dict or len(items) % 2:
        raise ValueError("refused, it sets items of what is not a dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, int):
            raise ValueError(f"refused, a dict with a key of type {type(key).__name__}")
        if len(str(key)) > _MAX_NAME:
            raise ValueError(f"refused, a name of {len(str(key))} characters")
        target[key] = value


def _global(module: Any, attribute: Any) -> _Global:
    name = f"{module}.{attribute}"
    if name not in _KNOWN:
        raise ValueError(
            f"refused, because the file refers to {name[:200]} and not to tensors only;"
            " it could run code. Save model.state_dict() instead"
        )
    return _Global(name)


def _call(function: Any, arguments: Any) -> Any:
    """Return what a known function makes of its arguments."""
    if type(function) is not _Global or type(arguments) is not tuple:
        raise ValueError("refused, it calls what is not a function")
    if function.name == _ORDERED_DICT and not arguments:
        return {}
    if function.name == _PARAMETER and arguments and type(arguments[0]) is Tensor:
        return arguments[0]
    if function.name != _TENSOR or len(arguments) < 4:
        raise ValueError(f"refused, it calls {function.name} in an unknown way")
    storage, offset, shape, stride, *_ = arguments
    if type(storage) is not Storage:
        raise ValueError("refused, a tensor without a storage")
    if (
        type(shape) is not tuple
        or type(stride) is not tuple
        or not len(shape) == len(stride) <= _MAX_RANK
        or not all(map(_is_size, (offset, *shape, *stride)))
    ):
        raise ValueError("a tensor has an impossible layout")
    return Tensor(storage, offset, shape, stride)


def _is_size(number: Any) -> bool:
    return type(number) is int and 0 <= number < 2**63


def _storage(reference: Any) -> Storage:
    if type(reference) is tuple and len(reference) == 5:
        word, kind, name, _, size = reference
        dtype = kind.name.removeprefix("torch.") if type(kind) is _Global else ""
        known = word == "storage" and dtype in DTYPES and type(name) is str
        if known and _is_size(size):
            return Storage(dtype, name, size)
    raise ValueError("refused, unknown reference to a storage")

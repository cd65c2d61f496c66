"""Interprets the pickles of torch.save: without torch, and without running pickle.

A pickle is a program; pickle.Unpickler would run it, and even where it may name no class a few
bytes make it allocate gigabytes or overflow the C stack. So the few opcodes that torch writes are
interpreted here: they make texts, numbers, tuples, dicts and tensors, and can call nothing.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_RANK = 8
MAX_STEPS = 1_000_000  # opcodes of a pickle; torch writes some 40 a tensor
MAX_NAME = 200
# torch's storages: numpy's type, and that of safetensors. numpy has no bfloat16: its bits are kept,
# and bytes of bools may be any.
STORAGES = {
    "torch.DoubleStorage": ("<f8", "F64"),
    "torch.FloatStorage": ("<f4", "F32"),
    "torch.HalfStorage": ("<f2", "F16"),
    "torch.BFloat16Storage": ("<u2", "BF16"),
    "torch.LongStorage": ("<i8", "I64"),
    "torch.IntStorage": ("<i4", "I32"),
    "torch.ShortStorage": ("<i2", "I16"),
    "torch.CharStorage": ("|i1", "I8"),
    "torch.ByteStorage": ("|u1", "U8"),
    "torch.BoolStorage": ("|u1", "BOOL"),
}
# What whole files may name, too, and is not read.
UNSUPPORTED = {
    "torch.ComplexFloatStorage": "complex numbers",
    "torch.ComplexDoubleStorage": "complex numbers",
    "torch._utils._rebuild_qtensor": "quantized numbers",
    "torch._utils._rebuild_sparse_tensor": "sparse tensors",
    "torch._utils._rebuild_tensor_v3": "numbers of 8 bits, or unsigned ones,",
}
# What else a pickle may name.
ORDERED_DICT, REBUILD = "collections.OrderedDict", "torch._utils._rebuild_tensor_v2"
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
LITERALS = ("BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "BININT", "BININT1", "BININT2", "LONG1")
OTHERS = """PROTO STOP MARK EMPTY_DICT EMPTY_LIST TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM SETITEMS APPEND
    APPENDS BINPUT LONG_BINPUT BINGET LONG_BINGET GLOBAL BINPERSID REDUCE BUILD"""
OPCODES = {
    opcode.code.encode("latin-1"): opcode
    for opcode in pickletools.opcodes
    if opcode.name in (*CONSTANTS, *LITERALS, *OTHERS.split())
}


class Refused(Exception):
    """What is wrong with a file; load_state_dict adds the file's name."""


class Unsupported(Exception):
    """What a file that is whole has, and is not read; load_state_dict adds the file's name."""


@dataclass
class Storage:
    kind: str  # of STORAGES
    key: str
    count: int  # of numbers
    numbers: memoryview = field(default=memoryview(b""), repr=False)  # set when the pickle is read

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(STORAGES[self.kind][0])

    @property
    def bytes(self) -> int:
        return self.count * self.dtype.itemsize


@dataclass
class Tensor:
    """A view of a storage, checked to lie within it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in numbers, like the offset

    @property
    def type(self) -> str:
        return STORAGES[self.storage.kind][1]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.storage.dtype.itemsize

    def array(self) -> NDArray[Any]:
        dtype = self.storage.dtype
        if self.bytes == 0:
            return np.zeros(self.shape, dtype)
        strides = [stride * dtype.itemsize for stride in self.strides]
        offset = self.offset * dtype.itemsize
        return np.ndarray(self.shape, dtype, self.storage.numbers, offset, strides)


@dataclass
class Global:
    """A class or function that a pickle names."""

    name: str


def quoted(text: str) -> str:
    """For messages; short, so that what is said of it is not cut off."""
    words = repr(text)
    return words if len(words) <= 100 else words[:97] + "..."


def require(holds: bool, problem: str) -> None:
    if not holds:
        raise Refused(problem)


def whole(x: object, what: str) -> int:
    if type(x) is not int or not 0 <= x < 2**62:
        raise Refused(f"{what} is no number of at least 0")
    return x


def make_tensor(arguments: object) -> Tensor:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)."""
    if type(arguments) is not tuple or not 6 <= len(arguments) <= 7:
        raise Refused("a tensor has not the six arguments that torch writes")
    storage, offset, shape, strides = arguments[:4]
    if type(storage) is not Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise Refused("a tensor has not the arguments that torch writes")
    require(len(shape) <= MAX_RANK, f"a tensor has {len(shape)} dimensions, at most {MAX_RANK}")
    require(len(shape) == len(strides), f"a tensor has {len(shape)} sizes, {len(strides)} strides")
    offset = whole(offset, "a tensor's offset")
    sizes = tuple(whole(size, "a tensor's size") for size in shape)
    steps = tuple(whole(stride, "a tensor's stride") for stride in strides)
    # Strides along one number or none mean nothing, and could be any.
    steps = tuple(step if size > 1 else 0 for size, step in zip(sizes, steps, strict=True))
    tensor = Tensor(storage, offset, sizes, steps)
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    # As many numbers as the storage has at most: a stride of 0 could make any number of one.
    within = last < storage.count and tensor.bytes <= storage.bytes
    if 0 in sizes:
        within = max(sizes) <= storage.count
    require(
        within,
        f"a tensor of sizes {sizes} and strides {steps} at {offset} is not within its storage of "
        f"{storage.count}",
    )
    return tensor


def make_storage(arguments: object, storages: dict[str, Storage]) -> Storage:
    """("storage", class, key, device, count), in the plain format with a None behind it."""
    if (
        type(arguments) is not tuple
        or arguments[:1] != ("storage",)
        or len(arguments) not in (5, 6)
    ):
        raise Refused("a persistent id is not that of a storage")
    kind, key, _, count = arguments[1:5]
    if type(kind) is not Global or type(key) is not str or arguments[5:] not in ((), (None,)):
        raise Refused("a persistent id has not the parts that torch writes")
    require(kind.name in STORAGES, f"{kind.name} is not a storage")
    require(len(key) <= MAX_NAME, f"the key of a storage has {len(key)} letters")
    storage = Storage(kind.name, key, whole(count, "the count of a storage"))
    known = storages.setdefault(key, storage)
    same = (known.kind, known.count) == (storage.kind, storage.count)
    require(same, f"storage {quoted(key)} is described in two ways")
    return known


class Machine:
    """Interprets one pickle; what it makes is left on the stack."""

    def __init__(self, storages: dict[str, Storage]) -> None:
        self.storages = storages
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        require(len(self.stack) > (self.marks[-1] if self.marks else 0), "a pickle lacks a value")
        return self.stack.pop()

    def pop_items(self, count: int | None = None) -> list[Any]:
        """The last `count` values, or those since the mark."""
        if count is not None:
            return [self.pop() for _ in range(count)][::-1]
        require(bool(self.marks), "a pickle lacks a mark")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def top(self, kind: type) -> Any:
        fits = bool(self.stack) and type(self.stack[-1]) is kind
        require(fits, f"a pickle lacks a {kind.__name__}")
        return self.stack[-1]

    def set_items(self, items: Sequence[Any]) -> None:
        target = self.top(dict)
        require(len(items) % 2 == 0, "a pickle's dict has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            require(type(key) is str, "a pickle's dict has a key that is no text")
            target[key] = value

    def name(self, lines: str) -> Global:
        name = ".".join(lines.splitlines())
        if name in UNSUPPORTED:
            raise Unsupported(
                f"it has {UNSUPPORTED[name]} ({name}) that are not read; save them as float32, "
                "or leave them out of the state_dict"
            )
        known = name in STORAGES or name in (ORDERED_DICT, REBUILD)
        require(known, f"it names {quoted(name)}, which is no part of a state_dict that is read")
        return Global(name)

    def call(self) -> dict[str, Any] | Tensor:
        function, arguments = self.pop_items(2)
        name = function.name if type(function) is Global else "what is no function"
        if name == REBUILD:
            return make_tensor(arguments)
        require(name == ORDERED_DICT and arguments == (), f"a pickle calls {name}")
        return {}

    def step(self, opcode: str, argument: Any) -> None:
        push = self.stack.append
        if opcode in LITERALS:
            push(argument)
        elif opcode in CONSTANTS:
            push(CONSTANTS[opcode])
        elif opcode in ("EMPTY_DICT", "EMPTY_LIST"):
            push({} if opcode == "EMPTY_DICT" else [])
        elif opcode == "MARK":
            self.marks.append(len(self.stack))
        elif opcode in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            push(tuple(self.pop_items(int(opcode[5:]) if opcode[5:] else None)))
        elif opcode in ("SETITEM", "SETITEMS"):
            self.set_items(self.pop_items(2 if opcode == "SETITEM" else None))
        elif opcode in ("APPEND", "APPENDS"):
            items = self.pop_items(1 if opcode == "APPEND" else None)
            self.top(list).extend(items)
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            require(bool(self.stack), "a pickle lacks a value")
            self.memo[argument] = self.stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            require(argument in self.memo, f"a pickle's value {argument} is not there")
            push(self.memo[argument])
        elif opcode == "GLOBAL":
            push(self.name(argument))
        elif opcode == "BINPERSID":
            push(make_storage(self.pop(), self.storages))
        elif opcode == "REDUCE":
            push(self.call())
        elif opcode == "BUILD":  # remarks about versions of modules, which are let go
            self.pop()
            self.top(dict)


def read_pickle(file: io.BytesIO, storages: dict[str, Storage]) -> Any:
    machine = Machine(storages)
    for _ in range(MAX_STEPS):
        code = file.read(1)
        require(code != b"", "it ends within a pickle: it is truncated")
        require(code in OPCODES, f"a pickle has the opcode {code!r}, which torch does not write")
        opcode = OPCODES[code]
        if opcode.name == "GLOBAL":  # two lines; pickletools would look for escapes in them
            argument: Any = (file.readline() + file.readline()).decode("ascii")
        else:
            argument = opcode.arg.reader(file) if opcode.arg else None
        machine.step(opcode.name, argument)
        if opcode.name == "STOP":
            break
    else:
        raise Refused(f"a pickle has more than {MAX_STEPS} opcodes")
    value = machine.pop()
    require(not machine.stack and not machine.marks, "a pickle leaves more than one value")
    return value

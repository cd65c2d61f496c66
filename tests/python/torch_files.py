"""Files of torch.save, opcode by opcode as torch writes them, without torch."""

import io
import struct
import zipfile

from nearcell import torch_file


def text(words):
    return b"X" + struct.pack("<I", len(words)) + words.encode()


def number(n):
    return b"J" + struct.pack("<i", n)


def group(*items):
    return b"(" + b"".join(items) + b"t"


def name(module, word):
    return f"c{module}\n{word}\n".encode()


def storage(kind, key, count, plain=True):
    parts = [text("storage"), name("torch", kind), text(key), text("cpu"), number(count)]
    return group(*parts, *([b"N"] if plain else [])) + b"Q"


ORDERED = name("collections", "OrderedDict") + b")R"


def tensor(stored, offset, shape, strides):
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    sizes = [group(*map(number, some)) for some in (shape, strides)]
    return rebuild + group(stored, number(offset), *sizes, b"\x89", ORDERED) + b"R"


def pickled(body):
    return b"\x80\x02" + body + b"."


def state_dict(**items):
    pairs = b"".join(text(key) + value for key, value in items.items())
    return pickled(ORDERED + b"(" + pairs + b"u" + b"}" + text("_metadata") + ORDERED + b"sb")


def plain_file(state, storages, keys=None, little=b"\x88"):
    """storages: key to array."""
    keys = list(storages) if keys is None else keys
    magic = torch_file.MAGIC.to_bytes(10, "little")
    parts = [
        pickled(b"\x8a\x0a" + magic),
        pickled(b"M" + struct.pack("<H", torch_file.PROTOCOL)),
        pickled(b"}" + text("little_endian") + little + b"s"),
        state,
        pickled(b"](" + b"".join(map(text, keys)) + b"e"),
    ]
    for key in keys:
        parts += [struct.pack("<q", storages[key].size), storages[key].tobytes()]
    return b"".join(parts)


def zip_file(state, storages, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("model/data.pkl", state)
        archive.writestr("model/byteorder", b"little")
        for key, values in storages.items():
            archive.writestr(f"model/data/{key}", values.tobytes())
    return file.getvalue()

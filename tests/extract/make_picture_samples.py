# ruff: noqa: E501 (long lines of a file that a program writes)
"""Writes picture_samples.h, small pictures and what Pillow makes of them, as C++ constants.

Usage: make_picture_samples.py SHARED/data > picture_samples.h; needs numpy and Pillow 13.
"""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

WIDE, HIGH = 22, 13
PASSES = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
]


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def noise(width, height, seed):
    """The pixels of noise_image() in the tests: the top bytes of core/random.h's sequence."""
    count = width * height * 3
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(56)).astype(np.uint8).reshape(height, width, 3)


def resized(picture, size):
    """Rows first, as Pillow up to 12 does always; 13 begins with columns when they shrink much more."""
    return picture.resize((size[0], picture.height), Image.BILINEAR).resize(size, Image.BILINEAR)


def over_white(picture):
    picture = np.asarray(picture.convert("RGBA")).astype(int)
    alpha = picture[:, :, 3:]
    return ((picture[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, color, rows, interlaced=0, extra=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


def filtered(array):
    return b"".join(b"\0" + row.tobytes() for row in array)


def saved(picture, **how):
    out = io.BytesIO()
    picture.save(out, **how)
    return out.getvalue()


y, x = np.mgrid[0:HIGH, 0:WIDE]
smooth = np.stack([x * 11, y * 19, 255 - x * 5 - y * 8], 2).astype(np.uint8)
rgb = Image.fromarray(smooth)
grey = rgb.convert("L")
rgba = Image.fromarray(np.dstack([smooth, (x * y * 7 % 256).astype(np.uint8)]))
palette = rgb.quantize(16)
deep = (smooth.astype(">u2") * 257 - 128 * (smooth > 0)).astype(">u2")
adam7 = b"".join(filtered(smooth[t::dy, left::dx]) for left, t, dx, dy in PASSES)

# name: (bytes, pixels)
samples = {}


def add(name, data, pixels=None):
    if pixels is None:
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    samples[name] = (data, pixels)


add("JpegBaseline", saved(rgb, format="JPEG", quality=60, optimize=True))
add("JpegFull", saved(rgb, format="JPEG", quality=90, subsampling=0, optimize=True))
add("JpegProgressive", saved(rgb, format="JPEG", quality=60, progressive=True))
add("JpegGrey", saved(grey, format="JPEG", quality=80, optimize=True))
add(
    "JpegRestarts",
    saved(rgb, format="JPEG", quality=60, optimize=True, restart_marker_blocks=1),
)
add("JpegCmyk", saved(rgb.convert("CMYK"), format="JPEG", quality=80, optimize=True))
add("PngRgb", saved(rgb, format="PNG"))
add("PngGrey", saved(grey, format="PNG"))
add("PngBits", saved(grey.convert("1"), format="PNG"))
add("PngAlpha", saved(rgba, format="PNG"), over_white(rgba))
add("PngGreyAlpha", saved(rgba.convert("LA"), format="PNG"), over_white(rgba.convert("LA")))
add("PngPalette", saved(palette, format="PNG"))
clear = saved(palette, format="PNG", transparency=3)
add("PngPaletteClear", clear, over_white(Image.open(io.BytesIO(clear))))
add("PngDeep", png(WIDE, HIGH, 16, 2, filtered(deep)), (deep >> 8).astype(np.uint8))
add("PngInterlaced", png(WIDE, HIGH, 8, 2, adam7, 1), smooth)
add("BmpRgb", saved(rgb, format="BMP"))
add("BmpGrey", saved(grey, format="BMP"))
add("BmpBits", saved(grey.convert("1"), format="BMP"))


def lines(data):
    text = data.hex()
    return "\n".join(f'        "{text[i : i + 88]}"' for i in range(0, len(text), 88))


print(
    "// Small pictures and what Pillow makes of them, made by make_picture_samples.py, which says what\n"
    "// is in them.\n#pragma once\n\n#include <cstddef>\n#include <cstdint>\n\n"
    "namespace nearcell {\n\n// clang-format off\n"
    "struct PictureSample {\n    const char* name;\n    uint64_t hash;  // FNV-1a of the pixels\n    const char* bytes;  // hexadecimal\n};\n\n"
    f"constexpr size_t kSampleWidth = {WIDE}, kSampleHeight = {HIGH};\n"
    "constexpr PictureSample kPictureSamples[] = {"
)
for name, (data, pixels) in samples.items():
    print(f'    {{"{name}", 0x{fnv(pixels.tobytes()):016x}u,\n{lines(data)}}},')
print("};\n")

print(
    "// noise_image(width, height, seed), resized.\nstruct ResizeSample {\n"
    "    size_t width, height, to_width, to_height;\n    uint64_t hash;\n};\n\n"
    "constexpr ResizeSample kResizeSamples[] = {"
)
SIZES = [
    (1, 1, 1, 1), (1, 1, 5, 7), (2, 2, 1, 1), (3, 5, 7, 2), (5, 3, 5, 9), (9, 4, 3, 4), (10, 10, 10, 10),
    (16, 16, 8, 8), (17, 13, 8, 6), (31, 7, 224, 224), (64, 48, 63, 47), (64, 48, 65, 49), (100, 3, 7, 50),
    (147, 200, 224, 224), (224, 224, 112, 112), (225, 223, 224, 224), (300, 1, 224, 224), (1, 300, 224, 224),
    (333, 500, 256, 384), (500, 333, 224, 224), (511, 257, 99, 301), (640, 427, 224, 224), (640, 427, 383, 256),
    (1000, 750, 224, 224), (1283, 717, 224, 224), (1600, 1203, 224, 224), (2000, 30, 3, 2), (30, 2000, 1, 1),
]  # fmt: skip
for i, (width, height, to_width, to_height) in enumerate(SIZES):
    out = resized(Image.fromarray(noise(width, height, i)), (to_width, to_height))
    print(
        f"    {{{width}, {height}, {to_width}, {to_height}, 0x{fnv(np.asarray(out).tobytes()):016x}u}},"
    )
print("};\n")

print(
    "// noise_image(width, height, 99) through Resize(side) and CenterCrop(crop) on Pillow's images.\n"
    "struct CropSample {\n    size_t width, height, side, crop;\n    uint64_t hash;\n};\n\n"
    "constexpr CropSample kCropSamples[] = {"
)
for width, height, side, crop in [
    (640, 427, 256, 224), (427, 640, 256, 224), (100, 100, 256, 224), (301, 299, 57, 32), (299, 301, 33, 32),
    (90, 1000, 64, 61), (511, 256, 256, 223), (256, 256, 256, 224), (37, 23, 19, 19),
]:  # fmt: skip
    # torchvision: transforms/functional.py, _compute_resized_output_size and center_crop
    short, long = min(width, height), max(width, height)
    other = int(side * long / short)
    size = (side, other) if width <= height else (other, side)
    left, top = round((size[0] - crop) / 2.0), round((size[1] - crop) / 2.0)
    out = resized(Image.fromarray(noise(width, height, 99)), size)
    out = out.crop((left, top, left + crop, top + crop))
    print(f"    {{{width}, {height}, {side}, {crop}, 0x{fnv(np.asarray(out).tobytes()):016x}u}},")
print("};\n")

print(
    "// shared/data/effnet-lite0/reference.npz: input_u8 of the photographs, as a hash.\n"
    "struct PhotoSample {\n    const char* name;\n    uint64_t hash;\n};\n\n"
    "constexpr PhotoSample kPhotoSamples[] = {"
)
shared = Path(sys.argv[1])
reference = np.load(shared / "effnet-lite0" / "reference.npz")
for name, pixels in zip(reference["names"], reference["input_u8"], strict=True):
    print(f'    {{"{name}", 0x{fnv(pixels.tobytes()):016x}u}},')
print("};\n// clang-format on\n\n}  // namespace nearcell")

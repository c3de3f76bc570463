import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image as PillowImage

from dsb2018.images import open_images, tiff
from dsb2018.images.microscopy_image import MicroscopyImage, choose_channel
from dsb2018.inference.discover import find_images

GRAY = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
COLOR = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)


def read(path: Path) -> np.ndarray:
    """Reads all pixels of a file that contains one image."""
    (image,) = open_images(path.stem, path)
    assert image.size == (30, 40)
    return image.read(0, 0, *image.size)


@pytest.mark.parametrize("extension", ["png", "bmp", "tif", "webp"])
@pytest.mark.parametrize("pixels", [GRAY, COLOR], ids=["gray", "color"])
def test_lossless_formats(tmp_path, extension, pixels):
    path = tmp_path / f"a.{extension}"
    options = {"lossless": True} if extension == "webp" else {}
    PillowImage.fromarray(pixels).save(path, **options)
    assert (read(path) == pixels.reshape(30, 40, -1)).all()


def test_jpeg(tmp_path):
    smooth = cv2.GaussianBlur(COLOR, (0, 0), 5)
    PillowImage.fromarray(smooth).save(tmp_path / "a.JPG", quality=95)
    assert np.abs(read(tmp_path / "a.JPG").astype(int) - smooth).mean() < 3


@pytest.mark.parametrize("mode", ["P", "LA", "RGBA", "1", "I;16"])
def test_palettes_alpha_and_depths(tmp_path, mode):
    path = tmp_path / "a.png"
    image = PillowImage.fromarray(COLOR if mode in ("P", "RGBA") else GRAY)
    if mode == "I;16":
        image = PillowImage.fromarray(GRAY.astype(np.uint16) * 257)
        expected = np.asarray(image)[..., None]
    elif mode == "P":
        image = image.quantize(200)
        expected = np.asarray(image.convert("RGB"))
    else:
        image = image.convert(mode)
        if "A" in mode:
            image.putalpha(PillowImage.fromarray(GRAY))
        expected = np.asarray(image.convert("RGB" if mode == "RGBA" else "L"))
        expected = expected.reshape(30, 40, -1)
    image.save(path)
    pixels = read(path)
    assert pixels.dtype == expected.dtype
    assert (pixels == expected).all()


def test_gray_saved_as_color_is_gray(tmp_path):
    PillowImage.fromarray(np.stack([GRAY] * 3, axis=2)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").shape == (30, 40, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("lazy", [False, True])
def test_tiff(tmp_path, monkeypatch, dtype, lazy):
    monkeypatch.setattr(tiff, "SMALL", 0 if lazy else 1 << 26)
    path = tmp_path / "a.tif"
    pixels = GRAY.astype(dtype) * 3
    tifffile.imwrite(path, pixels, tile=(16, 16), compression="lzw")
    (image,) = open_images("a", path)
    assert image.is_in_memory != lazy
    assert image.dtype == dtype
    assert (image.read(3, 5, 20, 30)[..., 0] == pixels[3:23, 5:35]).all()
    whole = np.zeros((30, 40, 1), dtype)
    windows = image.windows(16)
    for _ in range(2):  # windows can be iterated several times
        tiles = list(windows)
        assert [tile.shape for tile in tiles] == [(h, w, 1) for h in (16, 14) for w in (16, 16, 8)]
        whole = np.concatenate(
            [np.concatenate(tiles[:3], axis=1), np.concatenate(tiles[3:], axis=1)]
        )
    assert (whole[..., 0] == pixels).all()


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_with_alpha(tmp_path, monkeypatch, lazy, planar):
    monkeypatch.setattr(tiff, "SMALL", 0 if lazy else 1 << 26)
    pixels = np.dstack([COLOR, GRAY])
    stored = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, stored, photometric="rgb", planarconfig=planar, extrasamples=["unassalpha"]
    )
    assert (read(path) == COLOR).all()


def test_tiff_palette(tmp_path):
    table = np.random.default_rng(3).integers(0, 2**16, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", GRAY, photometric="palette", colormap=table)
    assert (read(tmp_path / "a.tif") == np.moveaxis(table[:, GRAY], 0, -1)).all()


def test_ome_tiff(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 4096, (5, 2, 30, 40), np.uint16)
    path = tmp_path / "cells.ome.tif"
    metadata = {
        "axes": "ZCYX",
        "PhysicalSizeX": 250,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.5,
        "PhysicalSizeYUnit": "µm",
        "PhysicalSizeZ": 2.0,
        "Channel": {"Name": ["DAPI", "GFP"]},
    }
    tifffile.imwrite(path, pixels, metadata=metadata)
    assert find_images([str(path)]) == [("cells", path)]
    (image,) = open_images("cells", path)
    assert image.depth == 5
    assert image.pixel_size == (0.5, 0.25)
    assert image.slice_distance == 2.0
    assert image.channels == ("DAPI", "GFP")
    assert (image.at(Z=3).read(0, 0, 30, 40) == pixels[3].transpose(1, 2, 0)).all()
    with pytest.raises(ValueError, match=r"cells.*: 2 channels \(DAPI, GFP\); name the nuclear"):
        choose_channel(image, None)
    for channel in ("GFP", "1"):
        chosen = choose_channel(image, channel)
        assert (chosen.at(Z=3).read(0, 0, 30, 40)[..., 0] == pixels[3, 1]).all()
    for channel in ("RFP", "2", "-1"):
        with pytest.raises(ValueError, match="expected DAPI, GFP"):
            choose_channel(image, channel)


def test_imagej_stack(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 4096, (5, 30, 40), np.uint16)
    path = tmp_path / "a.tif"
    metadata = {"axes": "ZYX", "spacing": 1.5, "unit": "um"}
    tifffile.imwrite(path, pixels, imagej=True, resolution=(4, 2), metadata=metadata)
    (image,) = open_images("a", path)
    assert (image.depth, image.pixel_size, image.slice_distance) == (5, (0.5, 0.25), 1.5)


def test_a_channel_of_gray_saved_as_color(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([GRAY] * 3))
    (image,) = open_images("a", tmp_path / "a.png")
    assert (choose_channel(image, "2").read(0, 0, 30, 40)[..., 0] == GRAY).all()
    with pytest.raises(ValueError, match=r"no channel '3', expected an index from 0 to 2"):
        choose_channel(image, "3")


def test_choose_channel_by_name():
    image = MicroscopyImage(
        "a", Path("a"), np.stack([GRAY, 255 - GRAY]), "CYX", channels=("GFP", "DAPI")
    )
    assert choose_channel(image, "dapi").fixed == {"C": 1}
    assert choose_channel(image, "0").fixed == {"C": 0}
    with pytest.raises(ValueError, match=r"no channel 'RFP', expected GFP, DAPI"):
        choose_channel(image, "RFP")
    single = MicroscopyImage("a", Path("a"), GRAY, "YX")  # a name is ignored
    assert choose_channel(single, "DAPI") is single


def test_stains_are_channels_of_color_images(tmp_path):
    # Light through a stain of density d: 10 ** -(d * color), after Ruifrok and Johnston.
    colors = {"hematoxylin": (0.65, 0.70, 0.29), "dab": (0.27, 0.57, 0.78)}
    densities = np.zeros((2, 30, 40))
    densities[0, 5:15, 5:20], densities[1, 10:25, 15:35] = 0.8, 0.5
    light = 10 ** -np.tensordot(densities, np.array(list(colors.values())), (0, 0))
    cv2.imwrite(str(tmp_path / "a.png"), np.rint(255 * light).astype(np.uint8)[..., ::-1])
    (image,) = open_images("a", tmp_path / "a.png")
    for stain, density in zip(colors, densities, strict=True):
        chosen = choose_channel(image, stain.upper())
        assert chosen.dtype == np.float32
        amount = chosen.read(0, 0, 30, 40)
        assert amount.shape == (30, 40, 1)
        assert np.corrcoef(amount.ravel(), density.ravel())[0, 1] > 0.99
        np.testing.assert_array_equal(chosen.read(3, 4, 20, 10), amount[3:23, 4:14])
    gray = MicroscopyImage("a", Path("a"), GRAY, "YX")
    assert choose_channel(gray, "dab") is gray
    several = MicroscopyImage("a", Path("a"), np.stack([GRAY] * 4), "CYX")
    with pytest.raises(ValueError, match="no channel 'dab'"):
        choose_channel(several, "dab")


def test_invalid_metadata_is_ignored(tmp_path, caplog):
    path = tmp_path / "a.ome.tif"
    pixels = '<Pixels PhysicalSizeX="?" PhysicalSizeY="1" DimensionOrder="XYCZT" ID="Pixels:0"'
    pixels += ' SizeC="1" SizeT="1" SizeX="40" SizeY="30" SizeZ="1" Type="uint8"><TiffData/>'
    ome = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    tifffile.imwrite(path, GRAY, description=f"{ome}{pixels}</Pixels></Image></OME>")
    (image,) = open_images("a", path)
    assert image.pixel_size is None
    assert (image.read(0, 0, 30, 40)[..., 0] == GRAY).all()
    assert "pixel size and channel names cannot be read" in caplog.text


def test_pages_without_metadata_are_slices(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for _ in range(3):
            writer.write(GRAY, contiguous=False, metadata=None)
    (image,) = open_images("a", tmp_path / "a.tif")
    assert image.depth == 3
    pixels = np.stack([GRAY, GRAY + 1, GRAY, GRAY])
    tifffile.imwrite(tmp_path / "b.tif", pixels, photometric="minisblack")
    (image,) = open_images("b", tmp_path / "b.tif")
    assert image.depth == 4
    assert (image.at(Z=1).read(0, 0, 30, 40)[..., 0] == pixels[1]).all()


def test_time_points_are_separate_images(tmp_path):
    pixels = np.stack([GRAY, GRAY + 1])
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata={"axes": "TYX"})
    images = open_images("a", tmp_path / "a.ome.tif")
    assert [image.name for image in images] == ["a_t0000", "a_t0001"]
    assert [image.depth for image in images] == [None, None]
    assert (images[1].read(0, 0, 30, 40)[..., 0] == pixels[1]).all()


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr(tmp_path, version):
    path = tmp_path / "plate.ome.zarr"
    pixels = np.random.default_rng(2).integers(0, 4096, (2, 3, 30, 40), np.uint16)
    group = zarr.open_group(path, mode="w", zarr_format=version)
    array = group.create_array("0", shape=pixels.shape, chunks=(1, 1, 16, 16), dtype=pixels.dtype)
    array[:] = pixels
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [1, 1, 0.25, 0.125]}]
    common_scale = [{"type": "scale", "scale": [1, 2, 2, 2]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    multiscale = {"axes": axes, "datasets": datasets, "coordinateTransformations": common_scale}
    metadata = {
        "multiscales": [multiscale],
        "omero": {"channels": [{"label": "DAPI"}, {"label": "GFP"}]},
    }
    group.attrs.update(metadata if version == 2 else {"ome": {"version": "0.5", **metadata}})
    assert find_images([str(tmp_path)]) == [("plate", path)]
    (image,) = open_images("plate", path)
    assert not image.is_in_memory
    assert (image.depth, image.pixel_size, image.slice_distance) == (3, (0.5, 0.25), 2)
    chosen = choose_channel(image, "GFP").at(Z=2)
    assert (chosen.read(3, 5, 20, 30)[..., 0] == pixels[1, 2, 3:23, 5:35]).all()


def write_ome_zarr(parent: zarr.Group, path: str, pixels: np.ndarray) -> None:
    image = parent.require_group(path)
    image.create_array("0", shape=pixels.shape, chunks=(16, 16), dtype=pixels.dtype)[:] = pixels
    axes = [{"name": name, "type": "space"} for name in "yx"]
    image.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]


def test_a_plate(tmp_path):
    path = tmp_path / "p.ome.zarr"
    plate = zarr.open_group(path, mode="w", zarr_format=2)
    fields = {"A/1/0": GRAY, "A/1/1": 255 - GRAY, "B/3/0": GRAY // 2}
    for field, pixels in fields.items():
        write_ome_zarr(plate, field, pixels)
    plate.attrs["plate"] = {"wells": [{"path": "A/1"}, {"path": "B/3"}, {"path": "C/1"}]}
    plate["A/1"].attrs["well"] = {"images": [{"path": "0"}, {"path": "1"}]}
    plate["B/3"].attrs["well"] = {"images": [{"path": "0"}]}
    files = find_images([str(tmp_path)])
    assert files == find_images([str(path)])
    assert [name for name, _ in files] == ["p_A_1_0", "p_A_1_1", "p_B_3_0"]
    for (name, field_path), pixels in zip(files, fields.values(), strict=True):
        (image,) = open_images(name, field_path)
        assert (image.read(0, 0, 30, 40)[..., 0] == pixels).all()
    assert find_images([str(path / "A" / "1" / "1")])[0][0] == "p_A_1_1"


def test_a_series_of_bioformats2raw(tmp_path):
    path = tmp_path / "s.zarr"
    store = zarr.open_group(path, mode="w", zarr_format=2)
    for group in ("0", "1"):
        write_ome_zarr(store, group, GRAY)
    store.create_group("OME")
    store.attrs["bioformats2raw.layout"] = 3
    assert find_images([str(path)]) == [("s_0", path / "0"), ("s_1", path / "1")]


OME = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{uuid}">
<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" SizeC="1" SizeT="3" SizeX="40"
SizeY="30" SizeZ="1" Type="uint8">{data}</Pixels></Image></OME>"""
PLANE = """<TiffData FirstC="0" FirstT="{t}" FirstZ="0" IFD="0" PlaneCount="1">
<UUID FileName="t{t}.ome.tif">urn:uuid:{t}</UUID></TiffData>"""


def test_each_file_of_an_ome_tiff_set_gives_its_own_plane(tmp_path):
    data = "".join(PLANE.format(t=t) for t in range(3))
    for t in range(3):
        pixels, description = np.full((30, 40), t, np.uint8), OME.format(uuid=t, data=data)
        path = tmp_path / f"t{t}.ome.tif"
        tifffile.imwrite(path, pixels, description=description, metadata=None)
    for t, (name, path) in enumerate(find_images([str(tmp_path)])):
        (image,) = open_images(name, path)
        assert image.name == f"t{t}"
        assert (image.read(0, 0, 30, 40) == t).all()


def test_all_images_of_an_ome_tiff(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number in range(3):
            size = {"PhysicalSizeX": number + 1.0, "PhysicalSizeY": 1.0}
            writer.write(GRAY + np.uint8(number), metadata={"axes": "YX", **size})
    images = open_images("a", path)
    assert [image.name for image in images] == ["a_s0000", "a_s0001", "a_s0002"]
    for number, image in enumerate(images):
        assert (image.read(0, 0, 30, 40)[..., 0] == GRAY + np.uint8(number)).all()
        assert image.pixel_size == (1, number + 1)


def test_pages_of_other_sizes_are_skipped_with_a_warning(tmp_path, caplog):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for pixels in (GRAY, GRAY[:20, :33]):
            writer.write(pixels, metadata=None)
    (image,) = open_images("a", tmp_path / "a.tif")
    assert image.size == (30, 40)
    assert "pages of another size than the first are skipped" in caplog.text


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "rowsperstrip": 30}])
@pytest.mark.parametrize("byteorder", "<>")
def test_strips_are_decoded_once(tmp_path, monkeypatch, options, byteorder):
    monkeypatch.setattr(tiff, "SMALL", 0)
    pixels = np.random.default_rng(2).integers(0, 60_000, (30, 40), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, byteorder=byteorder, **options)
    (image,) = open_images("a", tmp_path / "a.tif")
    assert isinstance(image.array, np.memmap)
    assert not image.is_in_memory
    window = image.read(3, 5, 20, 30)
    assert window.dtype == image.dtype == np.uint16
    assert (window[..., 0] == pixels[3:23, 5:35]).all()


@pytest.mark.parametrize(
    ("shape", "names", "size", "depth"),
    [
        ((30, 40, 3), None, (30, 40), None),
        ((5, 30, 40), None, (30, 40), 5),
        ((30, 40, 6), ["y", "x", "c"], (30, 40), None),
        ((30, 40, 3), ["y", "x", "z"], (30, 40), 3),
    ],
)
def test_axes_of_zarr_arrays(tmp_path, shape, names, size, depth):
    options = {"shape": shape, "dtype": "uint8", "dimension_names": names}
    zarr.create_array(tmp_path / "a.zarr", **options)
    (image,) = open_images("a", tmp_path / "a.zarr")
    assert (image.size, image.depth) == (size, depth)


def test_a_plain_zarr_array(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=(30, 40), dtype="uint8", chunks=(8, 8))
    array[:] = GRAY
    assert (read(tmp_path / "a.zarr")[..., 0] == GRAY).all()
    zarr.open_group(tmp_path / "b.zarr", mode="w")
    with pytest.raises(ValueError, match=r"b\.zarr: a Zarr group without `multiscales`"):
        open_images("b", tmp_path / "b.zarr")


def make_png(width: int, height: int) -> bytes:
    """Returns a PNG whose header claims a size that does not fit its data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.png", b"", "the file is empty"),
        ("noise.png", bytes(range(200)), "not a readable image"),
        ("noise.tif", bytes(range(200)), "not a readable image"),
        ("noise.jpg", b"\xff\xd8\xff" + bytes(50), "not a readable image"),
        ("bomb.png", make_png(100_000, 100_000), "more than 134 million pixels"),
        ("none.png", make_png(0, 10), "not a readable image"),
    ],
)
def test_unreadable_files_are_an_error(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        open_images("a", tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_unsupported_dtypes_and_channels_are_an_error(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GRAY.astype(np.complex64))
    with pytest.raises(ValueError, match=r"a\.tif: pixels of dtype complex64"):
        open_images("a", tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.dstack([COLOR, GRAY, GRAY]), planarconfig="contig")
    (image,) = open_images("b", tmp_path / "b.tif")
    with pytest.raises(ValueError, match=r"b\.tif: 5 channels; name the nuclear channel"):
        choose_channel(image, None)
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_images("c", tmp_path / "c.tif")


def test_gray_and_color_images_need_no_channel_option():
    for pixels, axes in ((GRAY, "YX"), (COLOR, "YXS")):
        image = MicroscopyImage("a", Path("a"), pixels, axes)
        assert choose_channel(image, None) is image
    single = choose_channel(MicroscopyImage("a", Path("a"), GRAY[None], "CYX"), None)
    assert single.read(0, 0, 30, 40).shape == (30, 40, 1)
    red = choose_channel(MicroscopyImage("a", Path("a"), COLOR, "YXS"), "0")
    assert (red.read(0, 0, 30, 40)[..., 0] == COLOR[..., 0]).all()


def save_gray_image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(GRAY).save(path)
    return path


def test_folders_and_patterns(tmp_path):
    a, b = save_gray_image(tmp_path / "x" / "a.png"), save_gray_image(tmp_path / "x" / "b.bmp")
    (tmp_path / "x" / "notes.txt").write_text("not an image")
    save_gray_image(tmp_path / "x" / ".hidden.png")
    assert find_images([str(tmp_path / "x")]) == [("a", a), ("b", b)]
    assert find_images([str(tmp_path / "x" / "*.png")]) == [("a", a)]
    assert find_images([str(tmp_path / "**" / "*.bmp"), str(a)]) == [("b", b), ("a", a)]
    assert find_images([str(a), str(a)]) == [("a", a)]


def test_results_of_earlier_runs_are_no_images(tmp_path):
    a = save_gray_image(tmp_path / "a.png")
    own = save_gray_image(tmp_path / "results" / "own" / "b.png")
    label = save_gray_image(tmp_path / "results" / "labels" / "a.png")
    everything = [str(tmp_path / "**" / "*.png")]
    assert len(find_images([str(tmp_path)], recursive=True)) == len(find_images(everything)) == 3
    (tmp_path / "results" / ".done").mkdir()
    assert [path for _, path in find_images([str(tmp_path)], recursive=True)] == [a, own]
    assert [path for _, path in find_images(everything)] == [a, own]
    assert find_images([str(label.parent)], recursive=True) == [("a", label)]
    assert find_images([str(label.parent / "*.png")]) == [("a", label)]


def test_masks_beside_their_images_are_reported(tmp_path, caplog):
    for name in ("a.png", "a_masks.png", "white_mask.png"):
        save_gray_image(tmp_path / name)
    assert len(find_images([str(tmp_path)])) == 3
    assert "1 of the files seem to be masks" in caplog.text
    assert "a_masks.png" in caplog.text


def test_empty_files(tmp_path):
    (tmp_path / "a.tif").touch()
    with pytest.raises(ValueError, match=r"a\.tif: not a readable image \(the file is empty\)$"):
        open_images("a", tmp_path / "a.tif")


def test_files_of_unknown_formats(tmp_path):
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(ValueError, match=r"\(damaged, or in an unknown format\)$"):
        open_images("a", tmp_path / "a.png")


def test_dsb_folders(tmp_path):
    paths = [save_gray_image(tmp_path / name / "images" / f"{name}.png") for name in ("i1", "i2")]
    save_gray_image(tmp_path / "i1" / "masks" / "m.png")
    assert find_images([str(tmp_path)]) == [("i1", paths[0]), ("i2", paths[1])]
    assert find_images([str(tmp_path / "i2")]) == [("i2", paths[1])]


def test_equal_names_contain_more_of_the_path(tmp_path):
    paths = [save_gray_image(tmp_path / p) for p in ("x/a.png", "x/a.bmp", "y/a.png", "y/b.png")]
    names = {path: name for name, path in find_images(list(map(str, paths)))}
    assert len(set(names.values())) == 4
    assert names[paths[1]] == "a.bmp"
    assert names[paths[0]] == "x_a.png"
    assert names[paths[3]] == "b"


def test_joined_paths_may_be_equal(tmp_path):
    paths = [
        save_gray_image(tmp_path / p) for p in ("x_a/b.png", "x/a_b.png", "b.png", "y/a_b.png")
    ]
    names = [name for name, _ in find_images(list(map(str, paths)))]
    assert len(set(names)) == 4
    assert not any("/" in name for name in names)


def test_two_unknown_axes_are_time_and_slices(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 999, (2, 5, 30, 40), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
    images = open_images("a", tmp_path / "a.tif")
    assert [(image.name, image.depth) for image in images] == [("a_t0000", 5), ("a_t0001", 5)]
    for time, image in enumerate(images):
        assert (image.at(Z=3).read(0, 0, 30, 40)[..., 0] == pixels[time, 3]).all()


@pytest.mark.parametrize("shape", [(2, 30, 40), (30, 40, 4)])
def test_extra_samples_that_are_not_alpha_are_kept(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 999, shape, np.uint16)
    planar = "separate" if shape[0] == 2 else "contig"
    extra_samples = [0] * (min(shape) - 1)
    options = {
        "photometric": "minisblack",
        "planarconfig": planar,
        "extrasamples": extra_samples,
    }
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    (image,) = open_images("a", tmp_path / "a.tif")
    with pytest.raises(ValueError, match=f"{min(shape)} channels; name the nuclear channel"):
        choose_channel(image, None)
    last = choose_channel(image, str(min(shape) - 1)).read(0, 0, 30, 40)[..., 0]
    assert (last == (pixels[1] if shape[0] == 2 else pixels[..., 3])).all()


def test_the_color_table_of_imagej_is_ignored(tmp_path):
    table = np.zeros((3, 256), np.uint8)
    table[2] = np.arange(256)
    tifffile.imwrite(
        tmp_path / "a.tif", GRAY, imagej=True, colormap=table, metadata={"LUTs": [table]}
    )
    assert (read(tmp_path / "a.tif") == GRAY[..., None]).all()


def test_a_large_uncompressed_file_is_a_memory_map(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "SMALL", 0)
    tifffile.imwrite(tmp_path / "a.tif", GRAY)
    (image,) = open_images("a", tmp_path / "a.tif")
    assert isinstance(image.array, np.memmap)
    assert not image.is_in_memory
    assert (image.read(0, 0, 30, 40)[..., 0] == GRAY).all()


def test_missing_files_and_empty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such file or folder"):
        find_images([str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty: no images found"):
        find_images([str(tmp_path / "empty")])


def test_a_cycle_of_pages(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((2, 16, 16), np.uint8), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as file:
        first, second = (page.offset for page in file.pages)
        tags = len(file.pages[1].tags)
    data = bytearray(path.read_bytes())
    position = second + 2 + 12 * tags
    data[position : position + 4] = first.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ValueError, match="a page links back to an earlier page"):
        open_images("a", path)


def change_tag(path, code, value):
    """Overwrites the value of a tag that contains one number."""
    with tifffile.TiffFile(path) as file:
        position = file.pages[0].tags[code].valueoffset
        size = {3: 2, 4: 4}[int(file.pages[0].tags[code].dtype)]
    data = bytearray(path.read_bytes())
    data[position : position + size] = value.to_bytes(size, "little")
    path.write_bytes(data)


def test_tiles_larger_than_memory(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), tile=(64, 64), compression="zlib")
    change_tag(path, "TileLength", 2**16 - 16 if tag_is_short(path, "TileLength") else 2**30)
    change_tag(path, "TileWidth", 2**16 - 16 if tag_is_short(path, "TileWidth") else 2**30)
    with pytest.raises(ValueError, match="compressed in blocks of .* MB; save it in tiles"):
        open_images("a", path)


def tag_is_short(path, code) -> bool:
    with tifffile.TiffFile(path) as file:
        return int(file.pages[0].tags[code].dtype) == 3


def test_missing_strips(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), compression="zlib", rowsperstrip=64)
    change_tag(path, "ImageLength", 60_000)
    with pytest.raises(ValueError, match="damaged, the file has 1 of 938 blocks"):
        open_images("a", path)

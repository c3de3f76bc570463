import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image as PillowImage

from dsb2018.inference.discover import find_images
from dsb2018.inference.microscopy_image import MicroscopyImage, choose_channel
from dsb2018.inference.readers import open_images, tiff

GREY = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
COLOR = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)


def read(path: Path) -> np.ndarray:
    (picture,) = open_images(path.stem, path)
    assert picture.size == (30, 40)
    return picture.read(0, 0, *picture.size)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp"])
@pytest.mark.parametrize("pixels", [GREY, COLOR], ids=["grey", "colour"])
def test_files_without_loss(tmp_path, ending, pixels):
    path = tmp_path / f"a.{ending}"
    PillowImage.fromarray(pixels).save(path, **({"lossless": True} if ending == "webp" else {}))
    assert (read(path) == pixels.reshape(30, 40, -1)).all()


def test_jpeg(tmp_path):
    smooth = cv2.GaussianBlur(COLOR, (0, 0), 5)
    PillowImage.fromarray(smooth).save(tmp_path / "a.JPG", quality=95)
    assert np.abs(read(tmp_path / "a.JPG").astype(int) - smooth).mean() < 3


@pytest.mark.parametrize("mode", ["P", "LA", "RGBA", "1", "I;16"])
def test_palettes_alpha_and_depths(tmp_path, mode):
    path = tmp_path / "a.png"
    image = PillowImage.fromarray(COLOR if mode in ("P", "RGBA") else GREY)
    if mode == "I;16":
        image = PillowImage.fromarray(GREY.astype(np.uint16) * 257)
        expected = np.asarray(image)[..., None]
    elif mode == "P":
        image = image.quantize(200)
        expected = np.asarray(image.convert("RGB"))
    else:
        image = image.convert(mode)
        if "A" in mode:
            image.putalpha(PillowImage.fromarray(GREY))
        expected = np.asarray(image.convert("RGB" if mode == "RGBA" else "L"))
        expected = expected.reshape(30, 40, -1)
    image.save(path)
    found = read(path)
    assert found.dtype == expected.dtype
    assert (found == expected).all()


def test_grey_saved_as_colour_is_grey(tmp_path):
    PillowImage.fromarray(np.stack([GREY] * 3, axis=2)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").shape == (30, 40, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("lazy", [False, True])
def test_tiff(tmp_path, monkeypatch, dtype, lazy):
    monkeypatch.setattr(tiff, "SMALL", 0 if lazy else 1 << 26)
    path = tmp_path / "a.tif"
    pixels = GREY.astype(dtype) * 3
    tifffile.imwrite(path, pixels, tile=(16, 16), compression="lzw")
    (picture,) = open_images("a", path)
    assert picture.is_in_memory != lazy
    assert picture.dtype == dtype
    assert (picture.read(3, 5, 20, 30)[..., 0] == pixels[3:23, 5:35]).all()
    whole = np.zeros((30, 40, 1), dtype)
    windows = picture.windows(16)
    for _ in range(2):  # again and again
        parts = list(windows)
        assert [p.shape for p in parts] == [(h, w, 1) for h in (16, 14) for w in (16, 16, 8)]
        whole = np.concatenate(
            [np.concatenate(parts[:3], axis=1), np.concatenate(parts[3:], axis=1)]
        )
    assert (whole[..., 0] == pixels).all()


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_with_alpha(tmp_path, monkeypatch, lazy, planar):
    monkeypatch.setattr(tiff, "SMALL", 0 if lazy else 1 << 26)
    pixels = np.dstack([COLOR, GREY])
    stored = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, stored, photometric="rgb", planarconfig=planar, extrasamples=["unassalpha"]
    )
    assert (read(path) == COLOR).all()


def test_tiff_palette(tmp_path):
    table = np.random.default_rng(3).integers(0, 2**16, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", GREY, photometric="palette", colormap=table)
    assert (read(tmp_path / "a.tif") == np.moveaxis(table[:, GREY], 0, -1)).all()


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
    (picture,) = open_images("cells", path)
    assert picture.depth == 5
    assert picture.pixel_size == (0.5, 0.25)
    assert picture.slice_distance == 2.0
    assert picture.channels == ("DAPI", "GFP")
    assert (picture.at(Z=3).read(0, 0, 30, 40) == pixels[3].transpose(1, 2, 0)).all()
    with pytest.raises(ValueError, match=r"cells.*: 2 channels \(DAPI, GFP\); say with --channel"):
        choose_channel(picture, None)
    for wanted in ("GFP", "1"):
        chosen = choose_channel(picture, wanted)
        assert (chosen.at(Z=3).read(0, 0, 30, 40)[..., 0] == pixels[3, 1]).all()
    for wanted in ("RFP", "2", "-1"):
        with pytest.raises(ValueError, match="there are DAPI, GFP"):
            choose_channel(picture, wanted)


def test_imagej_stack(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 4096, (5, 30, 40), np.uint16)
    path = tmp_path / "a.tif"
    metadata = {"axes": "ZYX", "spacing": 1.5, "unit": "um"}
    tifffile.imwrite(path, pixels, imagej=True, resolution=(4, 2), metadata=metadata)
    (picture,) = open_images("a", path)
    assert (picture.depth, picture.pixel_size, picture.slice_distance) == (5, (0.5, 0.25), 1.5)


def test_a_channel_of_grey_saved_as_colour(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([GREY] * 3))
    (picture,) = open_images("a", tmp_path / "a.png")
    assert (choose_channel(picture, "2").read(0, 0, 30, 40)[..., 0] == GREY).all()
    with pytest.raises(ValueError, match=r"no channel '3'; there are 0 to 2"):
        choose_channel(picture, "3")


def test_names_of_channels():
    picture = MicroscopyImage(
        "a", Path("a"), np.stack([GREY, 255 - GREY]), "CYX", channels=("GFP", "DAPI")
    )
    assert choose_channel(picture, "dapi").fixed == {"C": 1}
    assert choose_channel(picture, "0").fixed == {"C": 0}
    with pytest.raises(ValueError, match=r"no channel 'RFP'; there are GFP, DAPI"):
        choose_channel(picture, "RFP")
    single = MicroscopyImage("a", Path("a"), GREY, "YX")  # beside files that have names
    assert choose_channel(single, "DAPI") is single


def test_details_that_make_no_sense_do_no_harm(tmp_path, caplog):
    path = tmp_path / "a.ome.tif"
    details = '<Pixels PhysicalSizeX="?" PhysicalSizeY="1" DimensionOrder="XYCZT" ID="Pixels:0"'
    details += ' SizeC="1" SizeT="1" SizeX="40" SizeY="30" SizeZ="1" Type="uint8"><TiffData/>'
    ome = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    tifffile.imwrite(path, GREY, description=f"{ome}{details}</Pixels></Image></OME>")
    (picture,) = open_images("a", path)
    assert picture.pixel_size is None
    assert (picture.read(0, 0, 30, 40)[..., 0] == GREY).all()
    assert "details that cannot be read" in caplog.text


def test_pages_that_nobody_says_anything_of_are_slices(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for _ in range(3):
            writer.write(GREY, contiguous=False, metadata=None)
    (picture,) = open_images("a", tmp_path / "a.tif")
    assert picture.depth == 3
    pixels = np.stack([GREY, GREY + 1, GREY, GREY])
    tifffile.imwrite(tmp_path / "b.tif", pixels, photometric="minisblack")
    (picture,) = open_images("b", tmp_path / "b.tif")
    assert picture.depth == 4
    assert (picture.at(Z=1).read(0, 0, 30, 40)[..., 0] == pixels[1]).all()


def test_time_points_are_pictures_of_their_own(tmp_path):
    pixels = np.stack([GREY, GREY + 1])
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata={"axes": "TYX"})
    pictures = open_images("a", tmp_path / "a.ome.tif")
    assert [each.name for each in pictures] == ["a_t0000", "a_t0001"]
    assert [each.depth for each in pictures] == [None, None]
    assert (pictures[1].read(0, 0, 30, 40)[..., 0] == pixels[1]).all()


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
    of_all = [{"type": "scale", "scale": [1, 2, 2, 2]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    details = {
        "multiscales": [{"axes": axes, "datasets": datasets, "coordinateTransformations": of_all}],
        "omero": {"channels": [{"label": "DAPI"}, {"label": "GFP"}]},
    }
    group.attrs.update(details if version == 2 else {"ome": {"version": "0.5", **details}})
    assert find_images([str(tmp_path)]) == [("plate", path)]
    (picture,) = open_images("plate", path)
    assert not picture.is_in_memory
    assert (picture.depth, picture.pixel_size, picture.slice_distance) == (3, (0.5, 0.25), 2)
    chosen = choose_channel(picture, "GFP").at(Z=2)
    assert (chosen.read(3, 5, 20, 30)[..., 0] == pixels[1, 2, 3:23, 5:35]).all()


def write_ome_zarr(group: zarr.Group, place: str, pixels: np.ndarray) -> None:
    image = group.require_group(place)
    image.create_array("0", shape=pixels.shape, chunks=(16, 16), dtype=pixels.dtype)[:] = pixels
    axes = [{"name": name, "type": "space"} for name in "yx"]
    image.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]


def test_a_plate(tmp_path):
    path = tmp_path / "p.ome.zarr"
    plate = zarr.open_group(path, mode="w", zarr_format=2)
    places = {"A/1/0": GREY, "A/1/1": 255 - GREY, "B/3/0": GREY // 2}
    for place, pixels in places.items():
        write_ome_zarr(plate, place, pixels)
    plate.attrs["plate"] = {"wells": [{"path": "A/1"}, {"path": "B/3"}, {"path": "C/1"}]}
    plate["A/1"].attrs["well"] = {"images": [{"path": "0"}, {"path": "1"}]}
    plate["B/3"].attrs["well"] = {"images": [{"path": "0"}]}
    found = find_images([str(tmp_path)])
    assert found == find_images([str(path)])
    assert [name for name, _ in found] == ["p_A_1_0", "p_A_1_1", "p_B_3_0"]
    for (name, image), pixels in zip(found, places.values(), strict=True):
        (picture,) = open_images(name, image)
        assert (picture.read(0, 0, 30, 40)[..., 0] == pixels).all()
    assert find_images([str(path / "A" / "1" / "1")])[0][0] == "p_A_1_1"


def test_images_as_bioformats2raw_writes_them(tmp_path):
    path = tmp_path / "s.zarr"
    store = zarr.open_group(path, mode="w", zarr_format=2)
    for place in ("0", "1"):
        write_ome_zarr(store, place, GREY)
    store.create_group("OME")
    store.attrs["bioformats2raw.layout"] = 3
    assert find_images([str(path)]) == [("s_0", path / "0"), ("s_1", path / "1")]


OME = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">
<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" SizeC="1" SizeT="3" SizeX="40"
SizeY="30" SizeZ="1" Type="uint8">{data}</Pixels></Image></OME>"""
PLANE = """<TiffData FirstC="0" FirstT="{t}" FirstZ="0" IFD="0" PlaneCount="1">
<UUID FileName="t{t}.ome.tif">urn:uuid:{t}</UUID></TiffData>"""


def test_a_set_of_ome_tiffs_gives_each_plane_once(tmp_path):
    data = "".join(PLANE.format(t=t) for t in range(3))
    for t in range(3):
        pixels, details = np.full((30, 40), t, np.uint8), OME.format(own=t, data=data)
        path = tmp_path / f"t{t}.ome.tif"
        tifffile.imwrite(path, pixels, description=details, metadata=None)
    for t, (name, path) in enumerate(find_images([str(tmp_path)])):
        (picture,) = open_images(name, path)
        assert picture.name == f"t{t}"
        assert (picture.read(0, 0, 30, 40) == t).all()


def test_all_images_of_an_ome_tiff(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number in range(3):
            size = {"PhysicalSizeX": number + 1.0, "PhysicalSizeY": 1.0}
            writer.write(GREY + np.uint8(number), metadata={"axes": "YX", **size})
    pictures = open_images("a", path)
    assert [each.name for each in pictures] == ["a_s0000", "a_s0001", "a_s0002"]
    for number, picture in enumerate(pictures):
        assert (picture.read(0, 0, 30, 40)[..., 0] == GREY + np.uint8(number)).all()
        assert picture.pixel_size == (1, number + 1)


def test_pages_of_other_sizes_are_told(tmp_path, caplog):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for pixels in (GREY, GREY[:20, :33]):
            writer.write(pixels, metadata=None)
    (picture,) = open_images("a", tmp_path / "a.tif")
    assert picture.size == (30, 40)
    assert "pages of other sizes than the first are left out" in caplog.text


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "rowsperstrip": 30}])
@pytest.mark.parametrize("byteorder", "<>")
def test_what_is_not_in_tiles_is_not_decoded_again_and_again(
    tmp_path, monkeypatch, options, byteorder
):
    monkeypatch.setattr(tiff, "SMALL", 0)
    pixels = np.random.default_rng(2).integers(0, 60_000, (30, 40), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, byteorder=byteorder, **options)
    (picture,) = open_images("a", tmp_path / "a.tif")
    assert isinstance(picture.array, np.memmap)
    assert not picture.is_in_memory
    window = picture.read(3, 5, 20, 30)
    assert window.dtype == picture.dtype == np.uint16
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
    (picture,) = open_images("a", tmp_path / "a.zarr")
    assert (picture.size, picture.depth) == (size, depth)


def test_a_zarr_array_alone(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=(30, 40), dtype="uint8", chunks=(8, 8))
    array[:] = GREY
    assert (read(tmp_path / "a.zarr")[..., 0] == GREY).all()
    zarr.open_group(tmp_path / "b.zarr", mode="w")
    with pytest.raises(ValueError, match=r"b\.zarr: a Zarr group without `multiscales`"):
        open_images("b", tmp_path / "b.zarr")


def png_that_pretends(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.png", b"", "an empty file"),
        ("noise.png", bytes(range(200)), "not an image that can be read"),
        ("noise.tif", bytes(range(200)), "not an image that can be read"),
        ("noise.jpg", b"\xff\xd8\xff" + bytes(50), "not an image that can be read"),
        ("bomb.png", png_that_pretends(100_000, 100_000), "more than 134 million pixels"),
        ("none.png", png_that_pretends(0, 10), "not an image that can be read"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        open_images("a", tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_other_pixels_and_axes_are_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.complex64))
    with pytest.raises(ValueError, match=r"a\.tif: pixels of complex64"):
        open_images("a", tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.dstack([COLOR, GREY, GREY]), planarconfig="contig")
    (picture,) = open_images("b", tmp_path / "b.tif")
    with pytest.raises(ValueError, match=r"b\.tif: 5 channels; say with --channel"):
        choose_channel(picture, None)
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_images("c", tmp_path / "c.tif")


def test_colour_and_single_channels_need_no_choice():
    for pixels, axes in ((GREY, "YX"), (COLOR, "YXS")):
        picture = MicroscopyImage("a", Path("a"), pixels, axes)
        assert choose_channel(picture, None) is picture
    single = choose_channel(MicroscopyImage("a", Path("a"), GREY[None], "CYX"), None)
    assert single.read(0, 0, 30, 40).shape == (30, 40, 1)
    red = choose_channel(MicroscopyImage("a", Path("a"), COLOR, "YXS"), "0")
    assert (red.read(0, 0, 30, 40)[..., 0] == COLOR[..., 0]).all()


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(GREY).save(path)
    return path


def test_folders_and_patterns(tmp_path):
    a, b = save(tmp_path / "x" / "a.png"), save(tmp_path / "x" / "b.bmp")
    (tmp_path / "x" / "notes.txt").write_text("not an image")
    save(tmp_path / "x" / ".hidden.png")
    assert find_images([str(tmp_path / "x")]) == [("a", a), ("b", b)]
    assert find_images([str(tmp_path / "x" / "*.png")]) == [("a", a)]
    assert find_images([str(tmp_path / "**" / "*.bmp"), str(a)]) == [("b", b), ("a", a)]
    assert find_images([str(a), str(a)]) == [("a", a)]


def test_dsb_folders(tmp_path):
    paths = [save(tmp_path / name / "images" / f"{name}.png") for name in ("i1", "i2")]
    save(tmp_path / "i1" / "masks" / "m.png")
    assert find_images([str(tmp_path)]) == [("i1", paths[0]), ("i2", paths[1])]
    assert find_images([str(tmp_path / "i2")]) == [("i2", paths[1])]


def test_names_differ(tmp_path):
    paths = [save(tmp_path / p) for p in ("x/a.png", "x/a.bmp", "y/a.png", "y/b.png")]
    found = dict(map(reversed, find_images(list(map(str, paths)))))
    assert len(set(found.values())) == 4
    assert found[paths[1]] == "a.bmp"
    assert found[paths[0]] == "x_a.png"
    assert found[paths[3]] == "b"


def test_names_that_differ_in_nothing_but_where_they_are_cut(tmp_path):
    paths = [save(tmp_path / p) for p in ("x_a/b.png", "x/a_b.png", "b.png", "y/a_b.png")]
    names = [name for name, _ in find_images(list(map(str, paths)))]
    assert len(set(names)) == 4
    assert not any("/" in name for name in names)


def test_pages_of_two_kinds_are_time_and_slices(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 999, (2, 5, 30, 40), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
    pictures = open_images("a", tmp_path / "a.tif")
    assert [(each.name, each.depth) for each in pictures] == [("a_t0000", 5), ("a_t0001", 5)]
    for time, picture in enumerate(pictures):
        assert (picture.at(Z=3).read(0, 0, 30, 40)[..., 0] == pixels[time, 3]).all()


@pytest.mark.parametrize("shape", [(2, 30, 40), (30, 40, 4)])
def test_channels_that_are_no_alpha_are_kept(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 999, shape, np.uint16)
    planar = "separate" if shape[0] == 2 else "contig"
    options = {"photometric": "minisblack", "planarconfig": planar, "extrasamples": [0] * 3}
    options["extrasamples"] = [0] * (min(shape) - 1)
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    (picture,) = open_images("a", tmp_path / "a.tif")
    with pytest.raises(ValueError, match=f"{min(shape)} channels; say with --channel"):
        choose_channel(picture, None)
    last = choose_channel(picture, str(min(shape) - 1)).read(0, 0, 30, 40)[..., 0]
    assert (last == (pixels[1] if shape[0] == 2 else pixels[..., 3])).all()


def test_colours_that_imagej_shows_grey_values_in(tmp_path):
    table = np.zeros((3, 256), np.uint8)
    table[2] = np.arange(256)
    tifffile.imwrite(
        tmp_path / "a.tif", GREY, imagej=True, colormap=table, metadata={"LUTs": [table]}
    )
    assert (read(tmp_path / "a.tif") == GREY[..., None]).all()


def test_a_large_file_of_one_block_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "SMALL", 0)
    tifffile.imwrite(tmp_path / "a.tif", GREY)
    (picture,) = open_images("a", tmp_path / "a.tif")
    assert isinstance(picture.array, np.memmap)
    assert not picture.is_in_memory
    assert (picture.read(0, 0, 30, 40)[..., 0] == GREY).all()


def test_nothing_to_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such file or folder"):
        find_images([str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty: no image in it"):
        find_images([str(tmp_path / "empty")])


def test_pages_in_a_circle(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((2, 16, 16), np.uint8), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as file:
        first, second = (page.offset for page in file.pages)
        tags = len(file.pages[1].tags)
    data = bytearray(path.read_bytes())
    place = second + 2 + 12 * tags
    data[place : place + 4] = first.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ValueError, match="its pages lead back to an earlier one"):
        open_images("a", path)


def change_tag(path, code, value):
    """Overwrites the value of a tag of one number."""
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags[code].valueoffset
        size = {3: 2, 4: 4}[int(file.pages[0].tags[code].dtype)]
    data = bytearray(path.read_bytes())
    data[place : place + size] = value.to_bytes(size, "little")
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
    with pytest.raises(ValueError, match="damaged, it has 1 of 938 blocks"):
        open_images("a", path)

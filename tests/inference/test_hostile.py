"""Damaged and malicious input of `predict`."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import predict
import pytest
import tifffile
import torch
from safetensors.torch import load_file

from dsb2018.checkpoint import FOLDER
from dsb2018.images import open_images
from dsb2018.images import tiff as tiff_module
from dsb2018.images.microscopy_image import AbsentTiles, MicroscopyImage
from dsb2018.inference import large_images
from dsb2018.inference.discover import find_images
from dsb2018.inference.export.base import EXPORTERS
from dsb2018.inference.tiling.tiles import Tiling
from dsb2018.structures.contrast import find_range
from tests.hostile import png_header
from tests.inference.drawing import micrograph


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "good.png"), micrograph((64, 64), 0)[0])
    return images


def run(folder, output, *options) -> int:
    return predict.main(["--input", str(folder), "--output", str(output), *options])


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_named_pipes_do_not_hang(folder, tmp_path, capsys, extension):
    os.mkfifo(folder / f"pipe.{extension}")
    assert run(folder, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert f"pipe.{extension}: a named pipe, expected a regular file" in printed.err
    assert "1 of 2 files done" in printed.out


def test_file_names_of_dots_are_safe(folder, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "precious.txt").write_text("mine")
    for name in ("...png", "..png"):
        shutil.copy(folder / "good.png", folder / name)
    paths = [str(folder / name) for name in ("good.png", "...png", "..png")]
    assert predict.main(["--input", *paths, "--output", str(output), "--crops"]) == 0
    assert (output / "precious.txt").read_text() == "mine"
    crops = sorted(entry.name for entry in (output / "crops").iterdir())
    assert len(crops) == 3
    assert not any(name.startswith(".") for name in crops)


def test_crops_never_replace_a_folder_of_the_user(tmp_path):
    (tmp_path / "crops" / "mine").mkdir(parents=True)
    (tmp_path / "crops" / "mine" / "precious.txt").touch()
    with pytest.raises(ValueError, match="not deleted, because dsb2018 did not create it"):
        EXPORTERS["crops"].begin(SimpleNamespace(output=tmp_path, name="mine"))
    assert (tmp_path / "crops" / "mine" / "precious.txt").exists()


def test_file_names_that_are_spreadsheet_formulas_are_quoted(folder, tmp_path):
    (folder / "good.png").rename(folder / "=1+1.png")
    assert run(folder, tmp_path / "out", "--format", "kaggle") == 0
    with open(tmp_path / "out" / "images.csv", newline="") as file:
        assert next(csv.DictReader(file))["image"] == "'=1+1"
    lines = (tmp_path / "out" / "submission.csv").read_text().splitlines()
    assert lines[1].startswith("'=1+1,")


@pytest.mark.parametrize(
    "content",
    ["5", "{", "[]", "null", '{"fingerprint": 3}', '{"fingerprint": "x", "images": [5]}', ""],
)
def test_an_unreadable_record_is_replaced(folder, tmp_path, content, capsys):
    output = tmp_path / "out"
    assert run(folder, output) == 0
    record = output / ".done" / "good" / "record.json"
    before = record.read_text()
    record.write_text(content)
    assert run(folder, output) == 0
    assert record.read_text() == before


def test_a_record_with_an_unsafe_name_is_replaced(folder, tmp_path):
    output = tmp_path / "out"
    assert run(folder, output) == 0
    record = output / ".done" / "good" / "record.json"
    content = json.loads(record.read_text())
    content["images"][0]["image"] = "../../../evil"
    record.write_text(json.dumps(content))
    assert run(folder, output) == 0
    assert json.loads(record.read_text())["images"][0]["image"] == "good"


@pytest.mark.parametrize("part", ["good.parquet", "good.coco"])
def test_a_damaged_part_is_reported_and_replaced(folder, tmp_path, capsys, part):
    output = tmp_path / "out"
    assert run(folder, output, "--format", "coco") == 0
    table = (output / "nuclei.csv").read_bytes()
    path = output / ".done" / "good" / part
    path.write_bytes(b"\x00" * path.stat().st_size)
    assert run(folder, output, "--format", "coco") == 1
    assert f"{part}: damaged" in capsys.readouterr().err
    assert run(folder, output, "--format", "coco") == 0
    assert (output / "nuclei.csv").read_bytes() == table


def test_a_missing_part_is_replaced(folder, tmp_path):
    assert run(folder, tmp_path / "out") == 0
    path = tmp_path / "out" / ".done" / "good" / "good.parquet"
    path.unlink()
    assert run(folder, tmp_path / "out") == 0
    assert path.exists()


def test_a_damaged_tile_is_computed_again(tmp_path, monkeypatch):
    image = micrograph((300, 400), 0)[0]
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, image, tile=(128, 128))
    options = ["--format", "labels", "--tile", "256", "--overlap", "40"]
    monkeypatch.setattr(Tiling, "whole", 256)
    assert run(path, tmp_path / "whole", *options) == 0
    original = large_images.stitch_around

    def damage_and_stitch(*arguments):
        paths = sorted((tmp_path / "out" / ".done" / "slide" / "tiles" / "all").glob("*.npz"))
        paths[0].write_bytes(b"noise")
        paths[1].unlink()
        return original(*arguments)

    monkeypatch.setattr(large_images, "stitch_around", damage_and_stitch)
    assert run(path, tmp_path / "out", *options) == 0
    labels = [tifffile.imread(tmp_path / out / "labels" / "slide.tif") for out in ("whole", "out")]
    np.testing.assert_array_equal(*labels)


def test_broken_links_and_folders_with_image_names(folder, tmp_path, capsys):
    (folder / "link.png").symlink_to("nowhere")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "folder.png").mkdir()
    assert run(folder, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert "1 of 3 files done" in printed.out
    assert "link.png" in printed.err
    assert "loop.png" in printed.err


def write_header_only(path):
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:8])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("header.tif", write_header_only),
        ("empty.tif", lambda path: path.touch()),
        ("bomb.png", lambda path: path.write_bytes(png_header(2**31 - 1, 2**31 - 1))),
        ("far.tif", lambda path: tifffile.imwrite(path, np.array([[1.7e308, -1.7e308]]))),
    ],
)
def test_unreadable_files_are_reported(folder, tmp_path, capsys, name, write):
    write(folder / name)
    assert run(folder, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert f"{name}: " in printed.err
    assert "Traceback" not in printed.err
    assert "1 of 2 files done" in printed.out


def test_a_gray_range_that_overflows():
    with pytest.raises(ValueError, match="a range that is too wide"):
        find_range([np.array([[[1.7e308], [-1.7e308]]])], 0.1)


def test_a_channel_index_that_is_not_ascii(folder, tmp_path, capsys):
    tifffile.imwrite(folder / "good.tif", np.zeros((2, 64, 64), np.uint8), metadata={"axes": "CYX"})
    assert run(folder / "good.tif", tmp_path / "out", "--channel", "²") == 1
    assert "no channel '²', expected an index from 0 to 1" in capsys.readouterr().err


def test_an_empty_output_path(folder, capsys):
    with pytest.raises(SystemExit) as exit_info:
        run(folder, "")
    assert exit_info.value.code == 2
    assert "it is empty, expected a path" in capsys.readouterr().err


def write_sparse_tiff(path, shape=(4096, 4096)):
    """Writes a TIFF in which only the first tile has data."""
    tile = micrograph((256, 256), 0)[0].astype(np.uint8)
    count = -(-shape[0] // 256) * -(-shape[1] // 256)
    tiles = (tile if number == 0 else None for number in range(count))
    tifffile.imwrite(path, tiles, shape=shape, dtype=np.uint8, tile=(256, 256))


def test_tiles_without_data_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_module, "SMALL", 1 << 20)
    path = tmp_path / "slide.tif"
    write_sparse_tiff(path)
    (image,) = open_images("slide", path)
    assert image.is_absent(256, 0, 1000, 1000)
    assert not image.is_absent(255, 255, 10, 10)
    assert [position for position, _ in image.windows(256).with_positions()] == [(0, 0)]
    assert image.read(300, 300, 5, 6).shape == (5, 6, 1)
    tiles = []
    original = large_images.find_in_tile
    monkeypatch.setattr(
        large_images, "find_in_tile", lambda tile, **k: tiles.append(tile) or original(tile, **k)
    )
    assert run(path, tmp_path / "out", "--format", "labels", "--tile", "512") == 0
    assert len(tiles) < 5  # of more than 100
    with open(tmp_path / "out" / "images.csv", newline="") as file:
        assert int(next(csv.DictReader(file))["nuclei"]) > 3


def test_an_image_without_any_data():
    absent = AbsentTiles(np.ones((2, 2), bool), 256, 256)
    image = MicroscopyImage("a", Path("a.tif"), np.zeros((512, 512), np.uint8), "YX", absent=absent)
    with pytest.raises(ValueError, match="the image has no pixels"):
        find_range(image.windows(), 0.1)


def test_paths_that_lead_out_of_a_plate_are_ignored(tmp_path):
    import zarr

    plate = zarr.open_group(tmp_path / "plate.zarr", mode="w", zarr_format=2)
    plate.attrs["plate"] = {"wells": [{"path": "A/1"}]}
    well = plate.create_group("A/1")
    well.attrs["well"] = {"images": [{"path": "../../../outside"}, {"path": "0"}]}
    paths = [path for _, path in find_images([str(tmp_path / "plate.zarr")])]
    assert paths == [tmp_path / "plate.zarr" / "A" / "1" / "0"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_with_nan_or_inf(folder, tmp_path, capsys, value):
    weights = load_file(FOLDER / "unet_light.safetensors")
    name = next(name for name, values in weights.items() if values.is_floating_point())
    weights[name].view(-1)[0] = value
    torch.save({"model": weights}, tmp_path / "bad.pth")
    assert run(folder, tmp_path / "out", "--weights", str(tmp_path / "bad.pth")) == 1
    assert f"{name} has values that are NaN or infinite" in capsys.readouterr().err


def test_a_network_output_with_nan_or_inf(folder, tmp_path, capsys):
    weights = load_file(FOLDER / "unet_light.safetensors")
    weights = {name: values.float() for name, values in weights.items()}
    for name, values in weights.items():
        if values.ndim == 4:
            weights[name] = values * 1e30
    torch.save({"model": weights}, tmp_path / "bad.pth")
    assert run(folder, tmp_path / "out", "--weights", str(tmp_path / "bad.pth")) == 1
    assert "good.png: the network's output has NaN or infinite values" in capsys.readouterr().err


LOCK_FOLDER = """
import sys, time
from pathlib import Path
from dsb2018.io.locking import lock_folder
with lock_folder(Path(sys.argv[1]), "prediction", "--output"):
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_second_run_in_the_same_output_is_an_error(folder, tmp_path, capsys):
    command = [sys.executable, "-c", LOCK_FOLDER, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            assert run(folder, tmp_path / "out") == 2
        finally:
            holder.kill()
    message = rf"another prediction (process {holder.pid} on"
    assert message in capsys.readouterr().err
    assert run(folder, tmp_path / "out") == 0


@pytest.mark.parametrize(
    "change", [{"nuclei": -(10**30)}, {"width": 10**400}, {"nuclei": -1}, None], ids=str
)
def test_a_record_with_impossible_values_is_replaced(folder, tmp_path, change):
    assert run(folder, tmp_path / "out") == 0
    record = tmp_path / "out" / ".done" / "good" / "record.json"
    before = record.read_text()
    content = json.loads(before)
    content["images"] = [{**content["images"][0], **change}] if change else []
    record.write_text(json.dumps(content))
    assert run(folder, tmp_path / "out") == 0
    assert record.read_text() == before


def test_an_empty_label_image_is_replaced(folder, tmp_path):
    assert run(folder, tmp_path / "out") == 0
    path = tmp_path / "out" / "labels" / "good.tif"
    before = path.read_bytes()
    path.write_bytes(b"")
    assert run(folder, tmp_path / "out") == 0
    assert path.read_bytes() == before


def test_a_file_name_that_is_not_utf8(folder, tmp_path):
    shutil.copy(folder / "good.png", os.fsencode(folder) + b"/bad\xff.png")
    assert run(folder, tmp_path / "out", "--format", "coco") == 0
    with open(tmp_path / "out" / "images.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 2


@pytest.mark.parametrize("shape", ["[1000000000, 64, 64]", "[1000000000000, 1000000000000]"])
def test_zarr_with_impossible_shapes(tmp_path, capsys, shape):
    store = tmp_path / "a.zarr"
    store.mkdir()
    chunks = "[1, 64, 64]" if shape.count(",") == 2 else "[64, 64]"
    text = '{"zarr_format": 2, "shape": %s, "chunks": %s, "dtype": "|u1", "compressor": null, '
    text += '"fill_value": 0, "order": "C", "filters": null}'
    (store / ".zarray").write_text(text % (shape, chunks))
    assert run(store, tmp_path / "out") == 1
    assert "a.zarr" in capsys.readouterr().err


def test_named_pipes_in_zarr(tmp_path, capsys):
    import zarr

    for name, pipe in (("a", "0.0"), ("b", "zarr.json")):
        store = tmp_path / f"{name}.zarr"
        array = zarr.create_array(store, shape=(64, 64), chunks=(32, 32), dtype="u1", zarr_format=2)
        array[:] = 7
        (store / pipe).unlink(missing_ok=True)
        os.mkfifo(store / pipe)
        assert run(store, tmp_path / "out") == 1
        assert "not a regular file" in capsys.readouterr().err


def test_a_negative_pixel_size_is_ignored(tmp_path):
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "YX", "PhysicalSizeX": -1.0, "PhysicalSizeY": 1.0}
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), ome=True, metadata=metadata)
    (image,) = open_images("a", path)
    assert image.pixel_size is None

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import predict
import pytest
import tifffile
import torch
from skimage.io import imread

from dsb2018.images import tiff
from dsb2018.inference import large_images, prefetch
from dsb2018.inference.export import worker
from dsb2018.inference.export.base import EXPORTERS
from dsb2018.inference.predictor import Predictor
from dsb2018.inference.tiling.tiles import Tiling
from tests.commands.killed_exporter import export_or_be_killed
from tests.inference.drawing import micrograph


@pytest.fixture
def folder(tmp_path):
    """Three small images."""
    images = tmp_path / "my images"
    images.mkdir()
    for seed in range(3):
        cv2.imwrite(str(images / f"i{seed}.png"), micrograph((96, 128), seed)[0])
    return images


def rows_of(path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def run(folder, output, *options) -> int:
    return predict.main(["--input", str(folder), "--output", str(output), *options])


def test_nuclei_are_selected_by_options(folder, tmp_path):
    def areas(*options):
        output = tmp_path / "_".join(["out", *options]).replace(".", "")
        assert run(folder, output, "--format", "labels", "--diameter", "20", *options) == 0
        return [float(row["area"]) for row in rows_of(output / "nuclei.csv")]

    everything = areas()
    median = str(int(np.median(everything)))
    assert areas("--min-area", median) == [area for area in everything if area >= float(median)]
    assert areas("--max-area", median) == [area for area in everything if area <= float(median)]
    assert len(areas("--exclude-border")) < len(everything)
    assert sum(areas("--threshold", "0.3")) > sum(everything)
    assert run(folder, tmp_path / "x", "--min-area", "3um2") == 1  # the pixel size is unknown
    physical = areas("--min-area", "3um2", "--pixel-size", "0.5")
    assert physical == [area for area in everything if area >= 12]


@pytest.mark.parametrize(
    "options", [("--threshold", "2"), ("--threshold", "x"), ("--min-area", "3mm2")]
)
def test_options_out_of_range(folder, tmp_path, options):
    with pytest.raises(SystemExit, match="2"):
        run(folder, tmp_path / "out", *options)


def test_subfolders(folder, tmp_path, capsys):
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "i0.png").rename(folder / "a" / "b" / "i0.png")
    (folder / ".hidden").mkdir()
    (folder / "i1.png").rename(folder / ".hidden" / "i1.png")
    assert run(folder, tmp_path / "flat", "--format", "labels") == 0
    assert run(folder, tmp_path / "deep", "--format", "labels", "--recursive") == 0
    assert [row["image"] for row in rows_of(tmp_path / "flat" / "images.csv")] == ["i2"]
    assert sorted(row["image"] for row in rows_of(tmp_path / "deep" / "images.csv")) == ["i0", "i2"]


def test_the_command_predicts_without_torch(folder, tmp_path):
    code = "import sys; from dsb2018.commands.main import main; status = main(sys.argv[1:]); "
    code += "heavy = {'torch', 'detectron2', 'fvcore'} & set(sys.modules); "
    code += "sys.exit(status or heavy or 0)"
    arguments = ["predict", "--input", str(folder), "--output", str(tmp_path / "out")]
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert "3 of 3 files done" in process.stdout


def test_all_formats(folder, tmp_path, capsys):
    output = tmp_path / "out put"
    assert run(folder, output, "--pixel-size", "0.5", "--format", *EXPORTERS) == 0
    printed = capsys.readouterr().out
    nuclei, images = rows_of(output / "nuclei.csv"), rows_of(output / "images.csv")
    assert f"3 of 3 files done, {len(nuclei)} nuclei" in printed
    assert [row["image"] for row in images] == ["i0", "i1", "i2"]
    assert sum(int(row["nuclei"]) for row in images) == len(nuclei) > 10
    for row in images:
        labels = imread(output / "labels" / f"{row['image']}.tif")
        image_nuclei = [nucleus for nucleus in nuclei if nucleus["image"] == row["image"]]
        count = len(image_nuclei)
        assert labels.max() == count == int(row["nuclei"])
        for nucleus in image_nuclei:
            area = (labels == int(nucleus["label"])).sum()
            assert int(float(nucleus["area"])) == area
            assert float(nucleus["area_um2"]) == pytest.approx(area / 4)
        assert imread(output / "overlays" / f"{row['image']}.png").shape == (192, 256, 3)
        geojson = json.loads((output / "geojson" / f"{row['image']}.geojson").read_text())
        assert len(geojson["features"]) == count
        assert len(list((output / "crops" / row["image"]).glob("*.png"))) == count
        assert len(list((output / "dsb" / row["image"] / "masks").glob("*.png"))) == count
    assert len(json.loads((output / "coco.json").read_text())["annotations"]) == len(nuclei)
    assert len(rows_of(output / "submission.csv")) == len(nuclei)
    assert sorted(path.name for path in (output / "zarr" / "i0.ome.zarr").iterdir()) == [
        *(".zattrs", ".zgroup", "0")
    ]


def test_number_of_threads_is_restored(folder, tmp_path):
    torch.set_num_threads(2)
    assert run(folder, tmp_path / "out") == 0
    assert torch.get_num_threads() == 2


def test_finished_images_are_not_processed_again(folder, tmp_path, monkeypatch):
    output = tmp_path / "out"
    assert run(folder, output) == 0
    tables = {name: (output / name).read_bytes() for name in ("nuclei.csv", "images.csv")}
    calls = []
    original = prefetch.open_images
    monkeypatch.setattr(prefetch, "open_images", lambda n, p: calls.append(n) or original(n, p))
    assert run(folder, output) == 0
    assert calls == []
    assert tables == {name: (output / name).read_bytes() for name in tables}
    cv2.imwrite(str(folder / "i1.png"), micrograph((96, 128), 7)[0])  # the image changes
    assert run(folder, output) == 0
    assert calls == ["i1"]
    assert tables["nuclei.csv"] != (output / "nuclei.csv").read_bytes()
    assert run(folder, output, "--pixel-size", "2") == 0  # the options change
    assert calls == ["i1", "i0", "i1", "i2"]


def test_bad_files_are_reported_and_others_processed(folder, tmp_path, capsys):
    (folder / "empty.png").write_bytes(b"")
    (folder / "noise.jpg").write_bytes(bytes(range(250)))
    tifffile.imwrite(folder / "nan.tif", np.full((40, 40), np.nan, np.float32))
    five = np.zeros((40, 40, 5), np.uint8)
    tifffile.imwrite(folder / "five.tif", five, photometric="minisblack", planarconfig="contig")
    cv2.imwrite(str(folder / "black.png"), np.zeros((40, 50), np.uint8))
    assert run(folder, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert "4 of 8 files done" in printed.out
    for name in ("empty.png", "noise.jpg", "nan.tif", "five.tif"):
        (line,) = [line for line in printed.err.splitlines() if name in line]
        assert line.startswith(f"failed: {folder / name}: ")
        assert "Traceback" not in line
    images = {row["image"]: row for row in rows_of(tmp_path / "out" / "images.csv")}
    assert set(images) == {"i0", "i1", "i2", "black"}
    assert images["black"]["nuclei"] == "0"
    assert not imread(tmp_path / "out" / "labels" / "black.tif").any()


def test_failed_file_is_processed_again(folder, tmp_path):
    content = (folder / "i1.png").read_bytes()
    (folder / "i1.png").write_bytes(content[:100])
    assert run(folder, tmp_path / "out") == 1
    (folder / "i1.png").write_bytes(content)
    assert run(folder, tmp_path / "out") == 0
    assert len(rows_of(tmp_path / "out" / "images.csv")) == 3


def test_output_cannot_be_written(folder, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "labels").write_text("a file in place of the folder")
    assert run(folder, output) == 1
    printed = capsys.readouterr()
    assert "0 of 3 files done" in printed.out
    assert printed.err.count("failed: ") == 3
    assert not (output / "nuclei.csv").exists()
    (output / "nuclei.csv").mkdir()
    assert run(folder, output, "--format", "coco") == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"failed: {output}: ")
    assert printed.out.startswith("3 of 3 files done, ")
    assert "Written" not in printed.out


def test_overlay_shows_chosen_channel(tmp_path):
    image, _ = micrograph((96, 128))
    path = tmp_path / "two.ome.tif"
    channels = np.stack([np.full_like(image, 7), image])
    tifffile.imwrite(path, channels, metadata={"axes": "CYX", "Channel": {"Name": ["GFP", "DAPI"]}})
    assert run(path, tmp_path / "out", "--channel", "DAPI") == 0
    assert imread(tmp_path / "out" / "overlays" / "two.png").std() > 20
    nuclei = rows_of(tmp_path / "out" / "nuclei.csv")
    assert len(nuclei) > 3
    assert all(float(row["intensity_mean_DAPI"]) > 30 for row in nuclei)
    assert all(float(row["intensity_mean_GFP"]) == 0 for row in nuclei)


def test_damaged_tile(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tiff, "SMALL", 0)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, micrograph((96, 128))[0], tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path) as file:
        start, length = file.pages[0].dataoffsets[5], file.pages[0].databytecounts[5]
    data = bytearray(path.read_bytes())
    data[start : start + length] = bytes(length)
    path.write_bytes(data)
    assert run(path, tmp_path / "out") == 1
    assert f"failed: {path}: damaged" in capsys.readouterr().err


def test_stack(tmp_path):
    image, _ = micrograph((96, 128))
    dark = np.full_like(image, 20)
    path = tmp_path / "stack.tif"
    metadata = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    stack = np.stack([dark, image, image, dark, image])
    tifffile.imwrite(path, stack, imagej=True, resolution=(2, 2), metadata=metadata)
    assert run(path, tmp_path / "out", "--format", "labels", "coco", "overlay") == 0
    labels = tifffile.imread(tmp_path / "out" / "labels" / "stack.tif")
    assert labels.shape == stack.shape
    assert not labels[0].any()
    assert (labels[1] == labels[2]).all()
    # The dark slice 3 separates the nuclei of slice 4 from those of slice 2.
    assert labels[4].min(where=labels[4] > 0, initial=999) > labels[2].max()
    volumes = rows_of(tmp_path / "out" / "volumes.csv")
    assert len(volumes) == labels.max()
    assert volumes[0]["first_slice"] == "1"
    assert volumes[0]["last_slice"] == "2"
    assert float(volumes[0]["volume_um3"]) == int(volumes[0]["voxels"]) * 0.25 * 2
    nuclei = rows_of(tmp_path / "out" / "nuclei.csv")
    assert {row["slice"] for row in nuclei} == {"1", "2", "4"}
    for row in nuclei:
        mask = labels[int(row["slice"])] == int(row["label"])
        assert mask.sum() == int(float(row["area"]))
    images = json.loads((tmp_path / "out" / "coco.json").read_text())["images"]
    assert [image["name"] for image in images] == [f"stack_z{z:04d}" for z in range(5)]


def test_time_points_of_stacks(tmp_path):
    image, _ = micrograph((96, 128))
    dark = np.full_like(image, 20)
    frames = np.stack([[image, image], [dark, image]])
    path = tmp_path / "film.ome.tif"
    tifffile.imwrite(path, frames, metadata={"axes": "TZYX"})
    assert run(path, tmp_path / "out", "--format", "labels", "--crops") == 0
    volumes = rows_of(tmp_path / "out" / "volumes.csv")
    by_name = {
        name: [v for v in volumes if v["image"] == name] for name in ("film_t0000", "film_t0001")
    }
    assert {v["first_slice"] for v in by_name["film_t0000"]} == {"0"}
    assert {v["first_slice"] for v in by_name["film_t0001"]} == {"1"}
    assert len(by_name["film_t0000"]) == len(by_name["film_t0001"]) > 3


def test_a_run_without_stacks_deletes_the_table_of_volumes(folder, tmp_path):
    (tmp_path / "stack").mkdir()
    stack = np.stack([micrograph((96, 128))[0]] * 2)
    tifffile.imwrite(tmp_path / "stack" / "s.tif", stack, metadata={"axes": "ZYX"})
    assert run(tmp_path / "stack", tmp_path / "out", "--format", "labels") == 0
    assert len(list((tmp_path / "out").glob("volumes.*"))) == 2
    assert run(folder, tmp_path / "out", "--format", "labels") == 0
    assert not list((tmp_path / "out").glob("volumes.*"))


def test_failed_second_run_keeps_tables(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "out") == 0
    table = (tmp_path / "out" / "nuclei.csv").read_text()
    assert run(folder, tmp_path / "out", "--channel", "7") == 1
    assert "Written" not in capsys.readouterr().out.split("0 of 3 files done")[1]
    assert (tmp_path / "out" / "nuclei.csv").read_text() == table


def test_deleted_output_is_written_again(folder, tmp_path):
    assert run(folder, tmp_path / "out") == 0
    (tmp_path / "out" / "labels" / "i1.tif").unlink()
    assert run(folder, tmp_path / "out") == 0
    assert (tmp_path / "out" / "labels" / "i1.tif").exists()


@pytest.mark.parametrize("size", ["0", "-1", "inf"])
def test_invalid_pixel_size(folder, tmp_path, capsys, size):
    with pytest.raises(SystemExit):
        run(folder, tmp_path / "out", f"--pixel-size={size}")
    assert "expected micrometers" in capsys.readouterr().err


@pytest.mark.parametrize("diameter", ["0", "-3", "inf", "small"])
def test_invalid_diameter(folder, tmp_path, capsys, diameter):
    with pytest.raises(SystemExit):
        run(folder, tmp_path / "out", f"--diameter={diameter}")
    assert "expected pixels, such as 24" in capsys.readouterr().err


def test_diameter_changes_the_results_and_is_for_some_models(folder, tmp_path, project, capsys):
    image, out = folder / "i0.png", tmp_path / "out"
    counts = []
    for diameter in ("20", "60"):
        assert run(image, out, "--diameter", diameter) == 0
        counts.append(tifffile.imread(out / "labels" / "i0.tif").max())
        assert f"{counts[-1]} nuclei" in capsys.readouterr().out
    assert counts[0] != counts[1]  # the file was processed again
    config = project / "configs" / "simple_cnn" / "simple_cnn.yaml"
    assert run(image, tmp_path / "b", "--diameter", "20", "--config-file", str(config)) == 2
    assert "this model does not use the diameter" in capsys.readouterr().err


def test_images_of_an_unknown_kind_are_announced(tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    noise = cv2.resize(noise[:32, :32], (256, 256), interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(tmp_path / "noise.png"), noise)
    assert run(tmp_path / "noise.png", tmp_path / "out") == 0
    with open(tmp_path / "out" / "images.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["warning"] != "") == ("Check these first" in capsys.readouterr().out)


def test_integer_for_float_key(folder, tmp_path):
    assert run(folder / "i0.png", tmp_path / "out", "--opts", "INPUT.DIAMETER", "20") == 0


def test_broken_link(folder, tmp_path, capsys):
    (folder / "gone.tif").symlink_to(tmp_path / "nowhere.tif")
    assert run(folder, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert "3 of 4 files done" in printed.out
    assert "gone.tif" in printed.err


def test_interrupted_time_series_is_resumed(tmp_path, monkeypatch):
    frames = np.stack([micrograph((96, 128), seed)[0] for seed in range(6)])
    tifffile.imwrite(tmp_path / "film.ome.tif", frames, metadata={"axes": "TYX"})
    seen, original = [], Predictor.find

    def interrupted(predictor, images):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(1)
        return original(predictor, images)

    monkeypatch.setattr(Predictor, "find", interrupted)
    assert run(tmp_path / "film.ome.tif", tmp_path / "out") == 130
    done = {path.stem for path in (tmp_path / "out" / ".done" / "film").glob("film_t*.json")}
    assert done
    seen.clear()
    monkeypatch.setattr(Predictor, "find", lambda p, i: seen.append(1) or original(p, i))
    assert run(tmp_path / "film.ome.tif", tmp_path / "out") == 0
    assert len(seen) == 6 - len(done - {"film_t0000"})  # the first image is always processed again
    rows = rows_of(tmp_path / "out" / "images.csv")
    assert [row["image"] for row in rows] == [f"film_t{t:04d}" for t in range(6)]
    assert len({row["image"] for row in rows_of(tmp_path / "out" / "nuclei.csv")}) == 6


def test_no_deadlock_of_prefetch(tmp_path, monkeypatch):
    """A time series before other files, with a memory limit below the size of one image."""
    monkeypatch.setattr(prefetch, "MOST_AHEAD", 1000)  # bytes
    frames = np.stack([micrograph((96, 128), seed)[0] for seed in range(6)])
    tifffile.imwrite(tmp_path / "a.ome.tif", frames, metadata={"axes": "TYX"})
    for name in "bcd":
        cv2.imwrite(str(tmp_path / f"{name}.png"), frames[0])
    assert run(tmp_path, tmp_path / "out") == 0
    assert len(rows_of(tmp_path / "out" / "images.csv")) == 9


KILLED = """
import os, signal, sys
sys.path.append("tools")
import predict
from dsb2018.inference.run import PredictionRun
finish = PredictionRun._finish
PredictionRun._finish = lambda *args: (finish(*args), os.kill(os.getpid(), signal.SIGKILL))
if __name__ == "__main__":
    predict.main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="searches for processes in /proc")
def test_killed_run_leaves_no_process(folder, tmp_path, project):
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), "--input", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(project), "STARTED_BY": str(tmp_path)}
    result = subprocess.run(
        [*command, "--output", str(tmp_path / "out")], cwd=project, env=environment
    )
    assert result.returncode == -signal.SIGKILL
    assert (tmp_path / "out" / ".done" / "i0" / "record.json").exists()

    def processes() -> list[str]:
        pids = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"STARTED_BY={tmp_path}".encode() in path.read_bytes():
                    pids.append(path.parent.name)
        return pids

    for _ in range(100):
        if not processes():
            break
        time.sleep(0.1)
    assert processes() == []


INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # processes in the background ignore it
from dsb2018.commands.main import main
sys.exit(main())
"""


def test_ctrl_c_prints_no_traceback(folder, tmp_path):
    for number in range(200):  # more than are finished before the signal
        shutil.copy(folder / "i0.png", folder / f"copy{number}.png")
    options = ["--input", str(folder), "--output", str(tmp_path / "out"), "--diameter", "20"]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "predict", *options],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    record = tmp_path / "out" / ".done" / "copy10" / "record.json"  # the second process works
    while process.poll() is None and not record.exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    printed = process.communicate()[1]
    assert "Traceback" not in printed
    assert printed.endswith("interrupted; the same command continues where it stopped\n")
    assert process.returncode == 130


def test_image_of_a_stack_has_name_of_another_file(tmp_path, capsys):
    image, _ = micrograph((96, 128))
    metadata = {"axes": "TYX"}
    tifffile.imwrite(tmp_path / "a.tif", np.stack([image, image]), imagej=True, metadata=metadata)
    cv2.imwrite(str(tmp_path / "a_t0001.png"), image)
    assert run(tmp_path, tmp_path / "out") == 1
    message = f"{tmp_path / 'a.tif'}: one of its images or slices has the name of another file, "
    assert message + "a_t0001" in capsys.readouterr().err
    assert [row["image"] for row in rows_of(tmp_path / "out" / "images.csv")] == ["a_t0001"]


def test_killed_export_process(tmp_path, monkeypatch, capsys):
    image, _ = micrograph((96, 128))
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"i{number:x}.png"), image)
    monkeypatch.setattr(worker, "export_image", export_or_be_killed)
    assert run(tmp_path, tmp_path / "out") == 1
    printed = capsys.readouterr().err
    assert f"{tmp_path / 'i2.png'}: the export process was killed" in printed
    done = [row["image"] for row in rows_of(tmp_path / "out" / "images.csv")]
    assert {"i0", "ib"} <= set(done) < {f"i{number:x}" for number in range(12)}
    monkeypatch.undo()
    assert run(tmp_path, tmp_path / "out") == 0
    assert len(rows_of(tmp_path / "out" / "images.csv")) == 12


def test_interrupted_large_image_is_resumed(tmp_path, monkeypatch, capsys):
    image, ground_truth = micrograph((500, 700))
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, image, tile=(128, 128))
    options = ["--format", "labels", "--tile", "256", "--overlap", "40"]
    monkeypatch.setattr(Tiling, "whole", 256)
    seen = []
    original = large_images.find_in_tile

    def interrupted(tile, **rest):
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(tile)
        return original(tile, **rest)

    monkeypatch.setattr(large_images, "find_in_tile", interrupted)
    assert run(path, tmp_path / "out", *options) == 130
    assert "the same command continues" in capsys.readouterr().err
    tiles = tmp_path / "out" / ".done" / "slide" / "tiles"
    assert len(list(tiles.rglob("*.npz"))) == 5
    monkeypatch.setattr(
        large_images, "find_in_tile", lambda t, **k: seen.append(t) or original(t, **k)
    )
    assert run(path, tmp_path / "out", *options) == 0
    assert len(seen) == len(set(seen)) > 6
    assert not tiles.exists()
    labels = tifffile.imread(tmp_path / "out" / "labels" / "slide.tif")
    assert labels.shape == image.shape
    assert labels.max() == pytest.approx(ground_truth.max(), rel=0.05)


@pytest.mark.parametrize(
    ("status", "arguments", "message"),
    [
        (2, ["--input", "nowhere"], "nowhere: no such file or folder"),
        (2, ["--config-file", "none.yaml"], "none.yaml: no such config file"),
        (2, ["--weights", "none.pth"], "none.pth: no such checkpoint"),
        (2, ["--tile", "100", "--overlap", "60"], "expected 0 to 32 pixels of overlap"),
        (
            2,
            ["--opts", "SOLVER.BASE_LRR", "1"],
            "no config key SOLVER.BASE_LRR; did you mean SOLVER.BASE_LR",
        ),
        (1, ["--weights", "dsb2018://mask_rcnn_lite0_FPN"], "do not fit the model of the config"),
    ],
)
def test_invalid_arguments(folder, tmp_path, capsys, status, arguments, message):
    assert run(folder, tmp_path / "out", *arguments) == status
    assert message in capsys.readouterr().err


def test_the_help_fits_on_a_screen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    helps = []
    for option in ("--help", "--help-all"):
        with pytest.raises(SystemExit, match="0"):
            predict.main([option])
        helps.append(capsys.readouterr().out)
    short, full = helps
    assert len(short.splitlines()) <= 50
    assert short.index("dsb2018 predict --input my_images") < short.index("--threshold")
    assert "--backend" not in short
    assert {"--backend", "--weights", "--opts", "--tile"} <= set(full.split())

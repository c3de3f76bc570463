"""The whole of `tools/predict.py`, from files to tables and label images, beside Detectron2's own
`DefaultPredictor`, and exported networks beside torch."""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from detectron2 import model_zoo
from detectron2.engine import DefaultPredictor

from benchmarks.timing import Row, best_in_turn, median, seconds
from dsb2018.commands.predict import argument_parser, predict
from dsb2018.inference.discover import find_images
from dsb2018.inference.predictor import Predictor

sys.path.append("tools")
import export_model

MANY, ROUNDS = 120, 5


def measure(images: Path) -> list[Row]:
    """Rows of the report, of a DSB folder."""
    found = [path for _, path in find_images([str(images)])]
    by_size = {size: [p for p in found if _size(p) == (size, size)] for size in (256, 1024)}
    return [
        *_command(by_size[256][:MANY]),
        *_network(by_size, found[:: len(found) // 48]),
        *_stock(by_size[256][0]),
    ]


def _size(path: Path) -> tuple[int, ...]:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).shape


def _command(paths: list[Path]) -> list[Row]:
    """Images a second, without the start; which is measured with a single image."""
    with tempfile.TemporaryDirectory() as folder:

        def run(count: int) -> None:
            inputs = [str(path) for path in paths[:count]]
            output = f"{folder}/{count}"
            args = argument_parser().parse_args(["--input", *inputs, "--output", output])
            with contextlib.redirect_stderr(io.StringIO()):
                predict(args)

        start = seconds(lambda: run(1))
        rate = (len(paths) - 1) / (seconds(lambda: run(len(paths))) - start)
    what = f"predict, {len(paths)} images of 256×256, tables, label images and overlays"
    return [Row(what, f"{rate:.1f} images/s", "≥ 15"), Row("its start", f"{start:.1f} s")]


def _network(by_size: dict[int, list[Path]], spread: list[Path]) -> list[Row]:
    """One image at a time, from pixels to nuclei; and what exported networks change.

    Args:
        by_size: images by the length of their edges.
        spread: other images; integers are fitted to every second one, and compared on the others.
    """
    rows = []
    images = [cv2.imread(str(paths[0])) for paths in by_size.values()]
    compared = [cv2.imread(str(path)) for path in spread[1::2]]
    with tempfile.TemporaryDirectory() as folder:
        files = {"onnxruntime": f"{folder}/fp32.onnx", "onnxruntime, int8": f"{folder}/int8.onnx"}
        fitted = [str(path) for path in spread[::2]]
        for name, file in files.items():
            more = ["--int8", "--images", *fitted] if "int8" in name else []
            with contextlib.redirect_stdout(io.StringIO()):
                export_model.main(["--output", file, *more])
        ours = Predictor()
        reference = [ours(image).labels > 0 for image in compared]
        for name in ("torch", *files):  # one after the other: their threads wait actively
            file = files.get(name)
            predictor = Predictor(weights=file, backend="onnxruntime") if file else ours
            times = []
            for image in images:
                runs = [seconds(lambda p=predictor, i=image: p(i)) for _ in range(ROUNDS)]
                times.append(f"{median(runs):.3f}")
            size = f", {Path(files[name]).stat().st_size / 1e6:.1f} MB" if name in files else ""
            what = f"light U-Net, 256×256 / 1024×1024, {name}{size}"
            rows.append(Row(what, " / ".join(times) + " s", "1024×1024 < 1.2 s"))
            if name in files:
                found = [predictor(image).labels > 0 for image in compared]
                ious = [
                    (a & b).sum() / max(1, (a | b).sum())
                    for a, b in zip(found, reference, strict=True)
                ]
                what = f"  foreground IoU with torch, {len(ious)} images, mean / least"
                goal = "≥ 0.98" if "int8" in name else "≥ 0.999"
                rows.append(Row(what, f"{np.mean(ious):.4f} / {min(ious):.4f}", goal))
    return rows


def _stock(path: Path) -> list[Row]:
    """Mask R-CNN R-50 of the model zoo at its default scale, with random weights."""
    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml")
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    stock, ours, image = DefaultPredictor(cfg), Predictor(), cv2.imread(str(path))
    np.random.seed(0)
    times = best_in_turn(lambda: ours(image), lambda: stock(image))
    return [
        Row("DefaultPredictor of Detectron2, R-50, 256×256", f"{times[1]:.2f} s"),
        Row("light U-Net / DefaultPredictor", f"{times[0] / times[1]:.3f}"),
    ]

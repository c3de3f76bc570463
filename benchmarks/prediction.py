"""Speed of prediction, compared with Detectron2's `DefaultPredictor` and with exported networks."""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from detectron2 import model_zoo
from detectron2.engine import DefaultPredictor

from benchmarks.timing import Row, best_times, median, seconds
from dsb2018.commands.predict import predict
from dsb2018.commands.predict_parser import predict_parser
from dsb2018.inference.discover import find_images
from dsb2018.inference.predictor import Predictor

sys.path.append("tools")
import export_model

COUNT = 120  # images of the measurement of the whole command
ROUNDS = 5
SIZES = (256, 1024)  # height and width of the images, pixels


def measure(images: Path) -> list[Row]:
    """Returns the rows of the report, for a DSB folder."""
    paths = [path for _, path in find_images([str(images)])]
    by_size = {size: [path for path in paths if _size(path) == (size, size)] for size in SIZES}
    return [
        *_measure_command(by_size[256][:COUNT]),
        *_measure_networks(by_size, paths[:: len(paths) // 48]),
        *_compare_with_stock(by_size[256][0]),
    ]


def _size(path: Path) -> tuple[int, ...]:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).shape


def _measure_command(paths: list[Path]) -> list[Row]:
    """Measures `predict` from image files to tables, label images and overlays.

    The start-up time is measured with a single image and subtracted.
    """
    with tempfile.TemporaryDirectory() as folder:

        def run(count: int) -> None:
            inputs = [str(path) for path in paths[:count]]
            arguments = ["--input", *inputs, "--output", f"{folder}/{count}"]
            args = predict_parser().parse_args(arguments)
            with contextlib.redirect_stderr(io.StringIO()):
                predict(args)

        startup = seconds(lambda: run(1))
        rate = (len(paths) - 1) / (seconds(lambda: run(len(paths))) - startup)
    name = f"predict, {len(paths)} images of 256×256, tables, label images and overlays"
    return [Row(name, f"{rate:.1f} images/s", "≥ 15"), Row("start-up", f"{startup:.1f} s")]


def _measure_networks(by_size: dict[int, list[Path]], various: list[Path]) -> list[Row]:
    """Measures single images from pixels to nuclei, and the accuracy of exported networks.

    Args:
        by_size: images, by height and width.
        various: other images; the quantization is calibrated on every second one, and the accuracy
            is measured on the others.
    """
    rows = []
    images = [cv2.imread(str(paths[0])) for paths in by_size.values()]
    test_images = [cv2.imread(str(path)) for path in various[1::2]]
    with tempfile.TemporaryDirectory() as folder:
        files = {"onnxruntime": f"{folder}/fp32.onnx", "onnxruntime, int8": f"{folder}/int8.onnx"}
        calibration = [str(path) for path in various[::2]]
        for name, file in files.items():
            options = ["--int8", "--images", *calibration] if "int8" in name else []
            with contextlib.redirect_stdout(io.StringIO()):
                export_model.main(["--output", file, *options])
        torch_predictor = Predictor()
        reference = [torch_predictor(image).labels > 0 for image in test_images]
        for name in ("torch", *files):  # in sequence: idle threads of a backend busy-wait
            file = files.get(name)
            predictor = Predictor(weights=file, backend="onnxruntime") if file else torch_predictor
            times = []
            for image in images:
                runs = [seconds(lambda p=predictor, i=image: p(i)) for _ in range(ROUNDS)]
                times.append(f"{median(runs):.3f}")
            file_size = f", {Path(file).stat().st_size / 1e6:.1f} MB" if file else ""
            row_name = f"light U-Net, 256×256 / 1024×1024, {name}{file_size}"
            rows.append(Row(row_name, " / ".join(times) + " s", "1024×1024 < 1.2 s"))
            if file:
                foregrounds = [predictor(image).labels > 0 for image in test_images]
                ious = [
                    (a & b).sum() / max(1, (a | b).sum())
                    for a, b in zip(foregrounds, reference, strict=True)
                ]
                row_name = f"  foreground IoU with torch, {len(ious)} images, mean / minimum"
                goal = "≥ 0.98" if "int8" in name else "≥ 0.999"
                rows.append(Row(row_name, f"{np.mean(ious):.4f} / {min(ious):.4f}", goal))
    return rows


def _compare_with_stock(path: Path) -> list[Row]:
    """Compares with Detectron2's Mask R-CNN R-50 at its default scale, with random weights."""
    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml")
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    stock, ours, image = DefaultPredictor(cfg), Predictor(), cv2.imread(str(path))
    np.random.seed(0)
    our_time, stock_time = best_times(lambda: ours(image), lambda: stock(image))
    return [
        Row("Detectron2's DefaultPredictor, R-50, 256×256", f"{stock_time:.2f} s"),
        Row("light U-Net / DefaultPredictor", f"{our_time / stock_time:.3f}"),
    ]

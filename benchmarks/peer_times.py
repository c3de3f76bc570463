"""Speed of prediction beside StarDist and Cellpose, if their environments are named.

`DSB2018_STARDIST_PYTHON` and `DSB2018_CELLPOSE_PYTHON` are the Python interpreters of environments
as in `docs/peers.md`.
"""

import json
import os
import subprocess
from pathlib import Path

import cv2

from benchmarks.timing import Row, median, seconds
from dsb2018.inference.discover import find_images
from dsb2018.inference.predictor import Predictor

SCRIPT = Path(__file__).parent / "peers" / "time_peer.py"
PEERS = {"stardist": "DSB2018_STARDIST_PYTHON", "cellpose": "DSB2018_CELLPOSE_PYTHON"}
SIZES = (256, 1024)  # height and width of the images, pixels
RUNS = 3


def measure(images: Path) -> list[Row]:
    """Returns the rows of the report, for a DSB folder."""
    paths = [_first_of_size(images, size) for size in SIZES]
    rows = []
    for name in ("nuclei", "nuclei_fast"):
        for diameter in (None, 17.0):
            predictor = Predictor(name, diameter=diameter)
            times = [_time(predictor, path) for path in paths]
            known = f"diameter {diameter:g}" if diameter else "estimated diameter"
            rows.append(_row(f"{name}, {known}", times))
    for peer, variable in PEERS.items():
        if python := os.environ.get(variable):
            command = [python, str(SCRIPT), peer, *map(str, paths)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append(_row(f"{peer}, random weights", json.loads(output.splitlines()[-1])))
        else:
            rows.append(Row(peer, f"not measured: {variable} is not set"))
    return rows


def _first_of_size(images: Path, size: int) -> Path:
    for _, path in find_images([str(images)]):
        if cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).shape == (size, size):
            return path
    raise FileNotFoundError(f"{images}: no image of {size}×{size} pixels")


def _time(predictor: Predictor, path: Path) -> float:
    image = cv2.imread(str(path))
    predictor(image)
    return median([seconds(lambda: predictor(image)) for _ in range(RUNS)])


def _row(name: str, times: list[float]) -> Row:
    return Row(f"{name}, 256×256 / 1024×1024", " / ".join(f"{t:.3f}" for t in times) + " s")

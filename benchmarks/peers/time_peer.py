"""Measures the time that StarDist or Cellpose takes for images, with random weights.

    python benchmarks/peers/time_peer.py stardist a.png b.png

Needs an environment of its own, see docs/peers.md. Prints the seconds of each image as JSON: the
median of three runs after a first one. With random weights, a network takes as long as with trained
ones, but finds nonsense. The thresholds are therefore so high that nothing is found, and the times
are those of the network alone, less than a user waits.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import cv2
import numpy as np

RUNS = 3


def open_stardist() -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from a (H, W) uint8 image to its labels, with the network of peers.md."""
    from csbdeep.utils import normalize
    from stardist.models import Config2D, StarDist2D

    config = Config2D(n_rays=32, grid=(2, 2), n_channel_in=1)
    model = StarDist2D(config, name="stardist", basedir=tempfile.mkdtemp())
    model.thresholds = {"prob": 1.0, "nms": 0.4}
    return lambda image: model.predict_instances(normalize(image, 1, 99.8))[0]


def open_cellpose() -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from a (H, W) uint8 image to its labels, with the network `nuclei`."""
    from cellpose.models import CellposeModel

    model = CellposeModel(gpu=False, pretrained_model="")
    return lambda image: model.eval(image, channels=[0, 0], diameter=17.0, cellprob_threshold=99)[0]


def main() -> None:
    tool, *files = sys.argv[1:]
    segment = {"stardist": open_stardist, "cellpose": open_cellpose}[tool]()
    medians = []
    for file in files:
        image = cv2.imread(file, cv2.IMREAD_GRAYSCALE)
        segment(image)
        times = []
        for _ in range(RUNS):
            start = time.perf_counter()
            segment(image)
            times.append(time.perf_counter() - start)
        medians.append(statistics.median(times))
    print(json.dumps(medians))


if __name__ == "__main__":
    main()

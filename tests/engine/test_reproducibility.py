"""The same seed gives bitwise identical batches and weights."""

import subprocess
import sys

import torch

from tests.engine.test_processes import (  # noqa: F401 `start` is a fixture
    ENVIRONMENT,
    finish,
    start,
    train_net,
)

HASH_BATCHES = """
import hashlib, sys
import cv2, torch
from dsb2018.data import register_dsb2018
from dsb2018.engine import Trainer
from tests.configs import CONFIGS, load_cfg

root, workers, threads, *families = sys.argv[1:]
register_dsb2018(root)
cv2.setNumThreads(int(threads))
for family in families:
    cfg = load_cfg(CONFIGS / f"{family}.yaml", "DATALOADER.NUM_WORKERS", int(workers))
    cfg.DATASETS.TRAIN = ("dsb2018_sample_train",)
    digest = hashlib.sha256()
    batches = iter(Trainer.build_train_loader(cfg, seed=1))
    for _ in range(5):
        for sample in next(batches):
            parts = dict(sample)
            instances = parts.pop("instances", None)
            if instances is not None:
                parts |= {"boxes": instances.gt_boxes.tensor, "masks": instances.gt_masks.tensor}
            for name, values in sorted(parts.items()):
                content = values.contiguous().numpy().tobytes() if torch.is_tensor(values) else b""
                digest.update(name.encode() + content)
    print(digest.hexdigest())
"""

# Mask R-CNN, and dense models with each of the maps that separate touching nuclei.
FAMILIES = ["unet/unet_light", "unet/unet_border", "mask_rcnn/lite0_FPN"]


def test_batches_are_identical_in_every_process(project, sample_root):
    """The number of workers and of OpenCV threads does not matter."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HASH_BATCHES, str(sample_root), workers, threads, *FAMILIES],
            cwd=project,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for workers, threads in ("01", "02", "21")
    ]
    first, *others = [process.communicate(timeout=300)[0].split() for process in processes]
    assert not any(process.returncode for process in processes)
    assert len(set(first)) == len(FAMILIES)
    assert others == [first, first]


def test_two_trainings_are_identical(sample_root, tmp_path, start):  # noqa: F811
    """In one process; `test_processes.py` compares trainings in two processes with it."""
    states = []
    for name in ("a", "b"):
        options = ["DATALOADER.NUM_WORKERS", "2", "DATASETS.TEST", "()"]
        command = train_net(
            *(sample_root, tmp_path / name, *options),
            family="unet/unet_light",
        )
        finish(start(sys.executable, *command))
        states.append(torch.load(tmp_path / name / "model_final.pth", weights_only=True)["model"])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(values, states[1][name]) for name, values in states[0].items())


ONE_BATCH = """
import sys
from dsb2018.data import register_dsb2018
from dsb2018.engine import Trainer
from tests.configs import CONFIGS, load_cfg

register_dsb2018(sys.argv[1])
options = ["DATALOADER.NUM_WORKERS", 2, "SOLVER.IMS_PER_BATCH", 8]
cfg = load_cfg(CONFIGS / "unet/unet_light.yaml", *options)
cfg.DATASETS.TRAIN = ("dsb2018_sample_train",)
batches = iter(Trainer.build_train_loader(cfg, seed=1))
print(len(next(batches)))
"""


def test_script_exits_after_one_batch(project, sample_root):
    """Worker processes that still load data do not keep the script alive."""
    command = [sys.executable, "-W", "ignore", "-c", ONE_BATCH, str(sample_root)]
    result = subprocess.run(
        command, cwd=project, capture_output=True, text=True, timeout=100, check=True
    )
    assert result.stdout == "8\n"

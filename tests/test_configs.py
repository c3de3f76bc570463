"""Every config file is a test case: built on the CPU without weights, forward and backward."""

import pytest
import torch
from detectron2.utils.events import EventStorage

from dsb2018.data import EvaluationMapper, TrainingMapper
from dsb2018.engine import Trainer
from tests.configs import CONFIGS, load_cfg
from tests.samples import training_sample

# Few regions: what is tested is that a config's parts fit together.
FEW = ["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16, "MODEL.RPN.POST_NMS_TOPK_TEST", 50]
LEAVES = [
    path.relative_to(CONFIGS)
    for path in sorted(CONFIGS.rglob("*.yaml"))
    if not path.name.startswith("Base-")
]


def test_there_are_configs():
    assert len(LEAVES) >= 13


@pytest.mark.parametrize("path", LEAVES, ids=str)
def test_config(path):
    cfg = load_cfg(CONFIGS / path, *FEW)
    model = Trainer.build_model(cfg)
    assert Trainer.build_optimizer(cfg, model).param_groups
    for mapper in (TrainingMapper, EvaluationMapper):
        mapper(cfg)
    sample = training_sample()
    model.train()
    with EventStorage():
        total = sum(model([sample]).values())
    total.backward()
    assert torch.isfinite(total)
    model.eval()
    with torch.no_grad():
        (output,) = model([{"image": sample["image"], "height": 67, "width": 93}])
    assert output["sem_seg"].shape == (2, 67, 93)
    assert output["instances"].pred_masks.shape[1:] == (67, 93)


def test_the_light_mask_rcnn_is_light():
    model = Trainer.build_model(load_cfg(CONFIGS / "mask_rcnn/lite0_FPN.yaml"))
    assert sum(parameter.numel() for parameter in model.parameters()) < 9e6

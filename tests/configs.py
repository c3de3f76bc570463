"""Configs for the tests: the real files, made small."""

from pathlib import Path

from detectron2.config import CfgNode

from dsb2018.config import get_dsb2018_cfg

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def load_cfg(path: Path, *options) -> CfgNode:
    """A config file, on the CPU, without weights; KEY, VALUE, … as in train_net.py."""
    cfg = get_dsb2018_cfg()
    cfg.merge_from_file(str(path))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *options])
    return cfg


def small_cfg(*options) -> CfgNode:
    """The light Mask R-CNN, smaller still."""
    small = ["MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 32]
    small += ["MODEL.ROI_MASK_HEAD.CONV_DIM", 16, "MODEL.ROI_MASK_HEAD.NUM_CONV", 1]
    small += ["MODEL.TIMM.NAME", "mobilenetv3_small_050", "INPUT.CROP_TRAIN", 64]
    small += ["INPUT.MAX_SIZE_TEST", 256, "INPUT.ZOOM_TEST", 1.0, "DATALOADER.NUM_WORKERS", 0]
    return load_cfg(CONFIGS / "mask_rcnn/lite0_FPN.yaml", *small, *options)

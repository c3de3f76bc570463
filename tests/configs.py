"""Configs for the tests: the real files, made small."""

from pathlib import Path

from detectron2.config import CfgNode

from dsb2018.config import get_dsb2018_cfg

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

# KEY, VALUE, … that make a config of a family small.
SMALL_INPUT = ["INPUT.CROP_TRAIN", 64, "INPUT.MAX_SIZE_TEST", 256, "INPUT.ZOOM_TEST", 1.0]
SMALL_INPUT += ["DATALOADER.NUM_WORKERS", 0]
SMALL_RCNN = ["MODEL.ROI_BOX_HEAD.FC_DIM", 32, "MODEL.ROI_MASK_HEAD.CONV_DIM", 16]
SMALL_RCNN += ["MODEL.ROI_MASK_HEAD.NUM_CONV", 1]
SMALL_TIMM = ["MODEL.TIMM.NAME", "mobilenetv3_small_050", "MODEL.FPN.OUT_CHANNELS", 16]
SMALL_TIMM += ["MODEL.TIMM.NORM", "BN"]  # random weights have no statistics to freeze
SMALL_RESNET = ["MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.RESNETS.STEM_OUT_CHANNELS", 4]
SMALL_RESNET += ["MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.FPN.OUT_CHANNELS", 16]
SMALL_HEAD = ["MODEL.SEM_SEG_HEAD.CONVS_DIM", 32, "MODEL.UNET.HEAD_WIDTHS", [16, 16, 8, 8]]

# One config of each kind of model.
FAMILIES = {
    "mask_rcnn/lite0_FPN": SMALL_RCNN + SMALL_TIMM,
    "simple_cnn/simple_cnn": ["MODEL.SIMPLE_CNN.WIDTH", 8],
    "unet/unet": ["MODEL.UNET.WIDTH", 4],
    "unet/unet_border": ["MODEL.UNET.WIDTH", 4],
    "unet/unet_light": SMALL_HEAD + SMALL_TIMM,
    "semantic_fpn/lite0": SMALL_HEAD + SMALL_TIMM,
    "semantic_fpn/R_50": SMALL_HEAD + SMALL_RESNET,
    "fcn/R_50": SMALL_RESNET,
}


def load_cfg(path: Path, *options) -> CfgNode:
    """A config file, on the CPU, without weights; KEY, VALUE, … as in train_net.py."""
    cfg = get_dsb2018_cfg()
    cfg.merge_from_file(str(path))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *options])
    return cfg


def small_cfg(*options, family: str = "mask_rcnn/lite0_FPN") -> CfgNode:
    """A family's config, smaller still."""
    return load_cfg(CONFIGS / f"{family}.yaml", *SMALL_INPUT, *FAMILIES[family], *options)

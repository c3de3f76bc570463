"""Configs for the tests: the files of configs/, made small."""

from pathlib import Path

from detectron2.config import CfgNode

from dsb2018.config import get_dsb2018_cfg

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

# KEY, VALUE, … that make a config small.
SMALL_INPUT = ["INPUT.CROP_TRAIN", 64, "INPUT.MAX_SIZE_TEST", 256, "INPUT.ZOOM_TEST", 1.0]
SMALL_INPUT += ["DATALOADER.NUM_WORKERS", 0]
SMALL_RCNN = ["MODEL.ROI_BOX_HEAD.FC_DIM", 32, "MODEL.ROI_MASK_HEAD.CONV_DIM", 16]
SMALL_RCNN += ["MODEL.ROI_MASK_HEAD.NUM_CONV", 1]
SMALL_TIMM = ["MODEL.TIMM.NAME", "mobilenetv3_small_050", "MODEL.FPN.OUT_CHANNELS", 16]
SMALL_TIMM += ["MODEL.TIMM.NORM", "BN"]  # random weights have no statistics to freeze
SMALL_RESNET = ["MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.RESNETS.STEM_OUT_CHANNELS", 4]
SMALL_RESNET += ["MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.FPN.OUT_CHANNELS", 16]
SMALL_DENSE = ["MODEL.SEM_SEG_HEAD.CONVS_DIM", 32, "MODEL.UNET.WIDTH", 4]
SMALL_DENSE += ["MODEL.SIMPLE_CNN.WIDTH", 8]


def load_cfg(path: Path, *options) -> CfgNode:
    """A config file, on the CPU, without weights; KEY, VALUE, … as in train_net.py."""
    cfg = get_dsb2018_cfg()
    cfg.merge_from_file(str(path))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *options])
    return cfg


def find_families() -> dict[str, list]:
    """One config of each kind of model, with the options that make it small.

    A new config is found if its architecture, backbone, head or separation is new.
    """
    families: dict[tuple, tuple[str, list]] = {}
    paths = [path for path in CONFIGS.rglob("*.yaml") if not path.name.startswith("Base-")]
    same_models = ("finetune.yaml", "nuclei.yaml")  # as unet_light.yaml
    paths = [path for path in paths if path.name not in same_models]
    names = {path.relative_to(CONFIGS).with_suffix("").as_posix() for path in paths}
    for name in sorted(names, key=lambda name: (len(name), name)):  # R_50 before R_101
        if name.startswith("quick/"):  # variants of other configs
            continue
        cfg = load_cfg(CONFIGS / f"{name}.yaml")
        kind = cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DENSE.SEPARATION
        if cfg.MODEL.META_ARCHITECTURE in ("NucleiSegmentor", "NucleiRCNN"):
            kind += cfg.MODEL.BACKBONE.NAME, cfg.MODEL.SEM_SEG_HEAD.NAME
        widths = [16, 16, *[8] * (len(cfg.MODEL.UNET.HEAD_WIDTHS) - 2)]
        small = [*SMALL_RCNN, *SMALL_TIMM, *SMALL_RESNET, *SMALL_DENSE]
        small += ["MODEL.UNET.HEAD_WIDTHS", widths, "DATALOADER.DATASET_WEIGHTS", []]
        families.setdefault(kind, (name, small))
    return dict(families.values())


FAMILIES = find_families()


def small_cfg(*options, family: str = "mask_rcnn/lite0_FPN") -> CfgNode:
    """A family's config, made small."""
    return load_cfg(CONFIGS / f"{family}.yaml", *SMALL_INPUT, *FAMILIES[family], *options)

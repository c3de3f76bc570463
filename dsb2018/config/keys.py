"""The keys that this project adds to Detectron2's config, all in one place."""

from detectron2.config import CfgNode, get_cfg

SEPARATIONS = ("none", "border", "distance")  # values of MODEL.DENSE.SEPARATION


def check_separation(kind: str) -> None:
    """
    Raises:
        ValueError: not in `SEPARATIONS`.
    """
    if kind not in SEPARATIONS:
        raise ValueError(f"MODEL.DENSE.SEPARATION {kind!r}, expected one of {SEPARATIONS}")


def add_dsb2018_config(cfg: CfgNode) -> None:
    """Adds the project's keys with their defaults."""
    _add_input(cfg)
    _add_models(cfg)
    _add_solver_and_test(cfg)
    _add_tracking(cfg)


def _add_input(cfg: CfgNode) -> None:
    # What a training image is made of. A window of the image is cut out, zoomed and recoloured.
    cfg.INPUT.CROP_TRAIN = 320  # height and width of what the model sees, pixels
    cfg.INPUT.ZOOM_TRAIN = [1.0, 3.0]  # least and most zoom (model pixels per image pixel)
    cfg.INPUT.STAIN_STRENGTH = 1.0  # how far colours and contrast may change, 0 to 1
    cfg.INPUT.INVERSION = 0.15  # share of training images that are inverted, 0 to 1
    cfg.INPUT.OPTICS = 0.25  # share of training images that are blurred, and of noisy ones, 0 to 1
    cfg.INPUT.MIN_AREA = 12  # nuclei cut by the window to fewer pixels than this are no truth
    # Share of modalities in training: 1: as they come; 0: every modality equally often.
    cfg.DATALOADER.MODALITY_POWER = 1.0
    # In inference the whole image is resized by this factor; MAX_SIZE_TEST (Detectron2's key) is
    # the longest edge that enlarging may reach, pixels.
    cfg.INPUT.ZOOM_TEST = 1.0
    # Grey values are spread over the full range before anything else, all channels alike.
    cfg.INPUT.STRETCH = True
    cfg.INPUT.STRETCH_PERCENT = 0.1  # percent of the darkest and of the brightest that are cut off


def _add_models(cfg: CfgNode) -> None:
    # A backbone of the `timm` library (build_timm_fpn_backbone).
    cfg.MODEL.TIMM = CfgNode()
    cfg.MODEL.TIMM.NAME = "efficientnet_lite0"  # any timm model with feature maps
    cfg.MODEL.TIMM.STRIDES = [4, 8, 16, 32]  # of the feature maps that are used, in pixels
    # BN, or FrozenBN: statistics stay those of the weights that were loaded, which are of no batch;
    # not for a training from random weights.
    cfg.MODEL.TIMM.NORM = "BN"

    # Models that give each pixel a class. Losses of their map of nuclei, added up: iou (the
    # paper's), dice, cross_entropy.
    cfg.MODEL.DENSE = CfgNode()
    cfg.MODEL.DENSE.LOSSES = ["cross_entropy", "iou"]
    # A further map that tells nuclei apart that touch: none; border (inside and not near another
    # nucleus); distance (from the edge of each nucleus, 1 in its middle).
    cfg.MODEL.DENSE.SEPARATION = "none"
    cfg.MODEL.DENSE.BORDER_WEIGHT = 10.0  # weight of pixels between nuclei in the loss of `border`
    # How their maps become nuclei; see `InstanceOptions`. `tools/tune_instances.py` chooses them.
    cfg.MODEL.INSTANCES = CfgNode()
    cfg.MODEL.INSTANCES.METHOD = "components"  # components or watershed
    cfg.MODEL.INSTANCES.NUCLEUS_THRESH = 0.5  # least probability of a nucleus's pixels, 0 to 1
    # Seeds of watershed are peaks: of the further map (map), or of the distance to the edge of
    # where that is at least SEED_THRESH (distance); without that map of the distance to the edge.
    cfg.MODEL.INSTANCES.SEEDS = "map"
    # Least climb down from a peak to a higher one: with map 0 to 1, else pixels.
    cfg.MODEL.INSTANCES.SEED_DEPTH = 1.0
    cfg.MODEL.INSTANCES.SEED_THRESH = 0.5  # 0 to 1
    cfg.MODEL.INSTANCES.MIN_AREA = 1  # smaller nuclei are left out, pixels
    cfg.MODEL.INSTANCES.MAX_HOLE = 0  # holes up to this size are filled, pixels
    cfg.MODEL.UNET = CfgNode()
    cfg.MODEL.UNET.WIDTH = 16  # channels of the first level; each further one has twice as many
    cfg.MODEL.UNET.DEPTH = 4  # number of times that the image is halved
    cfg.MODEL.UNET.NORM = "BN"  # IN (of each image alone) or Detectron2's norms; "" for none
    cfg.MODEL.UNET.HEAD_WIDTHS = [64, 48, 24, 16]  # UNetHead: channels from coarse to fine
    cfg.MODEL.SIMPLE_CNN = CfgNode()
    cfg.MODEL.SIMPLE_CNN.WIDTH = 32  # channels of each convolution
    cfg.MODEL.SIMPLE_CNN.DEPTH = 6  # convolutions before the output


def _add_solver_and_test(cfg: CfgNode) -> None:
    # Optimizer; "SGD" is Detectron2's own, with its momentum and weight decay keys.
    cfg.SOLVER.OPTIMIZER = "SGD"  # SGD, ADAM or ADAMW
    # Arithmetic of the network: "auto" takes what the device does best: on a GPU bf16, or fp16
    # where it has no bf16; on a processor bf16 where that is faster than fp32.
    cfg.SOLVER.PRECISION = "auto"  # auto, fp32, bf16, or on a GPU fp16
    cfg.SOLVER.EMA_DECAY = 0.0  # moving average of the weights is evaluated and saved; 0: none
    cfg.SOLVER.ACCUMULATION = 1  # parts that a batch is taken in, for less memory
    cfg.SOLVER.CHECKPOINTS = 0  # number of checkpoints that are kept, beside best and final; 0: all
    cfg.MODEL.SYNC_BN = True  # several processes share the statistics of batch normalisation
    cfg.MODEL.CHANNELS_LAST = True  # memory layout NHWC; the same numbers, faster convolutions

    # Which instances count as found in the metrics that need a decision ("nuclei" and the semantic
    # map of models that have instances only); COCO AP uses all of them, ranked.
    cfg.TEST.SCORE_THRESH = 0.5  # 0 to 1
    cfg.TEST.OVERLAYS = 0  # number of test images of which a picture is written
    # At each evaluation (Detectron2's TEST.EVAL_PERIOD) also the losses of the test images.
    cfg.TEST.LOSS = False
    # model_best.pth is of the evaluation with the best of this, named as in metrics.json; "": none
    cfg.TEST.BEST_METRIC = "nuclei/mAP"
    cfg.TEST.PATIENCE = 0  # evaluations without a better BEST_METRIC that end a training; 0: never


def _add_tracking(cfg: CfgNode) -> None:
    # Weights & Biases, beside TensorBoard and metrics.json, which are always written. What is
    # empty is left to wandb's own environment variables (WANDB_PROJECT, WANDB_MODE, …).
    cfg.WANDB = CfgNode()
    cfg.WANDB.ENABLED = False
    cfg.WANDB.PROJECT = ""
    cfg.WANDB.ENTITY = ""
    cfg.WANDB.NAME = ""
    cfg.WANDB.GROUP = ""
    cfg.WANDB.TAGS = []
    cfg.WANDB.MODE = ""  # online, offline or disabled
    cfg.WANDB.IMAGES = 8  # number of test images shown with their true and predicted nuclei
    cfg.WANDB.SAVE_BEST = False  # uploads model_best.pth, or else model_final.pth


def get_dsb2018_cfg() -> CfgNode:
    """Detectron2's default config with the project's keys."""
    cfg = get_cfg()
    add_dsb2018_config(cfg)
    return cfg

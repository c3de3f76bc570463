"""Config keys that this project adds to Detectron2's."""

from detectron2.config import CfgNode, get_cfg

SEPARATIONS = ("none", "border", "distance", "centers")  # values of MODEL.DENSE.SEPARATION


def check_separation(kind: str) -> None:
    """Checks a value of MODEL.DENSE.SEPARATION.

    Raises:
        ValueError: it is not in `SEPARATIONS`.
    """
    if kind not in SEPARATIONS:
        raise ValueError(f"MODEL.DENSE.SEPARATION {kind!r}, expected one of {SEPARATIONS}")


def add_dsb2018_config(cfg: CfgNode) -> None:
    """Adds the keys of this project with their defaults."""
    _add_input(cfg)
    _add_models(cfg)
    _add_solver_and_test(cfg)
    _add_tracking(cfg)


def _add_input(cfg: CfgNode) -> None:
    # Training samples are random crops, which are zoomed and recolored.
    cfg.INPUT.CROP_TRAIN = 320  # height and width of the training crop, pixels
    # Diameter of the nuclei that the model is made for, pixels; 0: any diameter. Otherwise, each
    # image is scaled so that its median nucleus has this diameter, and ZOOM_TRAIN varies it.
    cfg.INPUT.DIAMETER = 0.0
    cfg.INPUT.ZOOM_TRAIN = [1.0, 3.0]  # smallest and largest zoom: pixels per pixel of the image
    cfg.INPUT.STAIN_STRENGTH = 1.0  # strength of color and contrast augmentation, 0 to 1
    cfg.INPUT.INVERSION = 0.15  # probability that a training image is inverted, 0 to 1
    cfg.INPUT.OPTICS = 0.25  # probability of blur, and probability of noise, in training, 0 to 1
    # Probability that a fluorescence image is rendered as stained tissue, 0 to 1.
    cfg.INPUT.VIRTUAL_STAIN = 0.0
    cfg.INPUT.LOCAL_CONTRAST = 0.0  # probability that the local contrast is raised, 0 to 1
    cfg.INPUT.MIN_AREA = 12  # nuclei that the crop cuts to fewer pixels are ignored
    # Share of the training images that is drawn from each dataset of DATASETS.TRAIN, in any unit:
    # [1.0, 1.0] draws two datasets equally often; []: as many as each dataset has.
    cfg.DATALOADER.DATASET_WEIGHTS = []
    # 1: training images are drawn as they occur; 0: every modality is drawn equally often.
    cfg.DATALOADER.MODALITY_POWER = 1.0
    # Test-time scale: factor by which images are resized for the model. MAX_SIZE_TEST, a key of
    # Detectron2, limits the longest edge of an enlarged image, pixels.
    cfg.INPUT.ZOOM_TEST = 1.0
    cfg.INPUT.STRETCH = True  # stretch the gray values to the full range, all channels alike
    # Percentage of the darkest and of the brightest pixels that are clipped by the stretch.
    cfg.INPUT.STRETCH_PERCENT = 0.1


def _add_models(cfg: CfgNode) -> None:
    # Backbones of the timm library (build_timm_backbone, build_timm_fpn_backbone).
    cfg.MODEL.TIMM = CfgNode()
    cfg.MODEL.TIMM.NAME = "efficientnet_lite0"  # any timm model with feature maps
    cfg.MODEL.TIMM.STRIDES = [4, 8, 16, 32]  # strides of the feature maps that are used, pixels
    # BN, or FrozenBN, which keeps the statistics of the loaded weights; FrozenBN is not for
    # training from random weights.
    cfg.MODEL.TIMM.NORM = "BN"

    # Dense models, which predict a class for each pixel. Losses of the nucleus map, added up: iou
    # (the paper's), dice, cross_entropy.
    cfg.MODEL.DENSE = CfgNode()
    cfg.MODEL.DENSE.LOSSES = ["cross_entropy", "iou"]
    # Additional maps that separate touching nuclei: none; border (low near another nucleus);
    # distance (distance to the edge of the nucleus, 1 in its middle); centers (that distance, and
    # the vector to the center of the nucleus).
    cfg.MODEL.DENSE.SEPARATION = "none"
    cfg.MODEL.DENSE.BORDER_WEIGHT = 10.0  # weight of pixels between nuclei in the loss of `border`
    # Postprocessing of dense models, see `InstanceOptions`. tools/tune_instances.py tunes it.
    cfg.MODEL.INSTANCES = CfgNode()
    cfg.MODEL.INSTANCES.METHOD = "components"  # components, watershed, or votes (for centers)
    cfg.MODEL.INSTANCES.NUCLEUS_THRESH = 0.5  # minimum probability of a nucleus pixel, 0 to 1
    # Watershed seeds are peaks of the additional map (map), or of the distance to the edge of the
    # region where that map is at least SEED_THRESH (distance). Without an additional map, they are
    # always peaks of the distance to the edge of the nuclei.
    cfg.MODEL.INSTANCES.SEEDS = "map"
    # Minimum depth of the valley between two seeds: 0 to 1 with map, votes per pixel with votes,
    # else pixels.
    cfg.MODEL.INSTANCES.SEED_DEPTH = 1.0
    cfg.MODEL.INSTANCES.SEED_THRESH = 0.5  # see SEEDS, 0 to 1
    cfg.MODEL.INSTANCES.VOTE_BLUR = (
        2.0  # blur of votes, pixels; a twelfth of the diameter of nuclei
    )
    cfg.MODEL.INSTANCES.MIN_AREA = 1  # smaller nuclei are removed, pixels
    cfg.MODEL.INSTANCES.MAX_HOLE = 0  # holes up to this size are filled, pixels
    cfg.MODEL.UNET = CfgNode()
    cfg.MODEL.UNET.WIDTH = 16  # channels of the first level, doubled at each further level
    cfg.MODEL.UNET.DEPTH = 4  # number of downsampling steps
    cfg.MODEL.UNET.NORM = "BN"  # IN (instance normalization), one of Detectron2's norms, "": none
    cfg.MODEL.UNET.HEAD_WIDTHS = [64, 48, 24, 16]  # of UNetHead, LightHead: channels, from coarse
    cfg.MODEL.SIMPLE_CNN = CfgNode()
    cfg.MODEL.SIMPLE_CNN.WIDTH = 32  # channels of each convolution
    cfg.MODEL.SIMPLE_CNN.DEPTH = 6  # number of convolutions before the output


def _add_solver_and_test(cfg: CfgNode) -> None:
    cfg.SOLVER.OPTIMIZER = "SGD"  # SGD (Detectron2's), ADAM or ADAMW
    # Precision of the network: fp32, bf16, fp16 (GPU only) or auto. On a GPU, auto is bf16 if the
    # hardware has it, else fp16; on a CPU it is bf16 if that is faster than fp32.
    cfg.SOLVER.PRECISION = "auto"
    # Decay of the moving average of the weights, which is then evaluated and saved; 0: no average.
    cfg.SOLVER.EMA_DECAY = 0.0
    cfg.SOLVER.ACCUMULATION = 1  # number of parts in which a batch is processed, to save memory
    # Number of checkpoints to keep, besides the best and the final one; 0: all.
    cfg.SOLVER.CHECKPOINTS = 0
    cfg.MODEL.SYNC_BN = True  # synchronize batch normalization between processes
    cfg.MODEL.CHANNELS_LAST = True  # memory layout NHWC: the same numbers, faster convolutions

    # Predictions with a lower score are ignored by the "nuclei" metrics and by the semantic map of
    # Mask R-CNN. COCO AP uses all predictions.
    cfg.TEST.SCORE_THRESH = 0.5  # 0 to 1
    cfg.TEST.OVERLAYS = 0  # number of test images that are written with outlines
    # Also compute the loss of the test images at each evaluation (Detectron2's TEST.EVAL_PERIOD).
    cfg.TEST.LOSS = False
    # Metric that selects model_best.pth, named as in metrics.json; "": none.
    cfg.TEST.BEST_METRIC = "nuclei/mAP"
    # Number of evaluations without an improvement that ends a training; 0: never.
    cfg.TEST.PATIENCE = 0


def _add_tracking(cfg: CfgNode) -> None:
    # Weights & Biases, in addition to TensorBoard and metrics.json. Empty values leave the choice
    # to wandb's environment variables (WANDB_PROJECT, WANDB_MODE, …).
    cfg.WANDB = CfgNode()
    cfg.WANDB.ENABLED = False
    cfg.WANDB.PROJECT = ""
    cfg.WANDB.ENTITY = ""
    cfg.WANDB.NAME = ""
    cfg.WANDB.GROUP = ""
    cfg.WANDB.TAGS = []
    cfg.WANDB.MODE = ""  # online, offline or disabled
    cfg.WANDB.IMAGES = 8  # number of test images that are shown with their nuclei
    cfg.WANDB.SAVE_BEST = False  # upload model_best.pth, or else model_final.pth


def get_dsb2018_cfg() -> CfgNode:
    """Returns Detectron2's default config with the keys of this project."""
    cfg = get_cfg()
    add_dsb2018_config(cfg)
    return cfg

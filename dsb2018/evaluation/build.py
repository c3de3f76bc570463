"""Which evaluators a dataset gets."""

from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluators

from dsb2018.evaluation.coco_evaluator import CocoEvaluator
from dsb2018.evaluation.label_writer import LabelWriter
from dsb2018.evaluation.nuclei_evaluator import NucleiEvaluator
from dsb2018.evaluation.overlay_writer import OverlayWriter


def _nuclei(cfg, dataset_name: str) -> list:
    folder = Path(cfg.OUTPUT_DIR) / "inference" / dataset_name
    json_file = MetadataCatalog.get(dataset_name).json_file
    thresh = cfg.TEST.SCORE_THRESH
    # Always the same images, however many processes share the dataset.
    ids = [item["image_id"] for item in DatasetCatalog.get(dataset_name)]
    shown = cfg.WANDB.IMAGES if cfg.WANDB.ENABLED else 0
    return [
        CocoEvaluator(json_file, str(folder)),
        NucleiEvaluator(thresh, folder / "images.csv"),
        OverlayWriter(folder / "overlays", set(ids[: cfg.TEST.OVERLAYS]), thresh),
        LabelWriter(folder / "labels", set(ids[:shown]), thresh),
    ]


BUILDERS = {"nuclei": _nuclei}


def build_evaluators(cfg, dataset_name: str) -> DatasetEvaluators:
    """The evaluators of a registered dataset.

    Raises:
        ValueError: its `evaluator_type` is not known here.
    """
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type")
    if kind not in BUILDERS:
        raise ValueError(
            f"dataset {dataset_name} has evaluator_type {kind!r}, expected one of {list(BUILDERS)}"
        )
    return DatasetEvaluators(BUILDERS[kind](cfg, dataset_name))

"""Builds the evaluators of a dataset."""

from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluators

from dsb2018.evaluation.coco_evaluator import CocoEvaluator
from dsb2018.evaluation.image_writers import LabelWriter, OverlayWriter
from dsb2018.evaluation.nuclei_evaluator import NucleiEvaluator

# nuclei: of this project; coco: of Detectron2's `register_coco_instances`.
EVALUATOR_TYPES = ("nuclei", "coco")


def build_evaluators(cfg, dataset_name: str) -> DatasetEvaluators:
    """Builds the evaluators of a registered dataset.

    Raises:
        ValueError: the `evaluator_type` of the dataset is not in `EVALUATOR_TYPES`.
    """
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type")
    if kind not in EVALUATOR_TYPES:
        raise ValueError(
            f"dataset {dataset_name} has evaluator_type {kind!r}, expected one of {EVALUATOR_TYPES}"
        )
    folder = Path(cfg.OUTPUT_DIR) / "inference" / dataset_name
    score_thresh = cfg.TEST.SCORE_THRESH
    # The selected images do not depend on the number of processes.
    ids = [item["image_id"] for item in DatasetCatalog.get(dataset_name)]
    wandb_images = cfg.WANDB.IMAGES if cfg.WANDB.ENABLED else 0
    return DatasetEvaluators(
        [
            CocoEvaluator(folder),
            NucleiEvaluator(score_thresh, folder / "images.csv"),
            OverlayWriter(folder / "overlays", set(ids[: cfg.TEST.OVERLAYS]), score_thresh),
            LabelWriter(folder / "labels", set(ids[:wandb_images]), score_thresh),
        ]
    )

"""From a dataset dict to a model's input: one mapper for all models."""

import cv2
import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Boxes, Instances

from dsb2018.data.augmentation import (
    RandomOptics,
    RandomQuarterTurn,
    RandomStain,
    RandomZoomCrop,
    ZoomToLimit,
)
from dsb2018.data.targets import interior_map
from dsb2018.images import read_image, stretch_contrast
from dsb2018.truth import read_label_layers


def build_augmentations(cfg, is_train: bool) -> list[T.Augmentation]:
    """The augmentations that the config asks for; in inference, the zoom alone."""
    if not is_train:
        return [ZoomToLimit(cfg.INPUT.ZOOM_TEST, cfg.INPUT.MAX_SIZE_TEST)]
    return [
        RandomZoomCrop(cfg.INPUT.CROP_TRAIN, tuple(cfg.INPUT.ZOOM_TRAIN)),
        T.RandomFlip(horizontal=True, vertical=False),
        RandomQuarterTurn(),
        RandomStain(cfg.INPUT.STAIN_STRENGTH, cfg.INPUT.INVERSION),
        RandomOptics(cfg.INPUT.OPTICS),
    ]


class NucleiMapper:
    """Reads an image and its nuclei and applies augmentations to both.

    Nuclei travel through the geometric augmentations as label layers, one array for all, not as
    one mask each: boxes, masks and the semantic map are made from what comes out, so they are in
    step with each other, and with 100 nuclei an image it is many times faster.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: list[T.Augmentation | T.Transform],
        image_format: str,
        stretch_percent: float | None = None,
        min_area: int = 1,
        separation: str = "none",
        with_instances: bool = True,
    ):
        """
        Args:
            is_train: whether truth is wanted with the image.
            augmentations: applied in this order.
            image_format: "RGB" or "BGR".
            stretch_percent: see `stretch_contrast`; None: the grey values stay as they are.
            min_area: nuclei with fewer pixels left after cropping are no instances, pixels.
            separation: kind of the `interior_map` that the model learns.
            with_instances: whether the model learns from instances; dense ones do not, and a mask
                for each nucleus takes time and memory.
        """
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.stretch_percent = stretch_percent
        self.min_area = min_area
        self.separation = separation
        self.with_instances = with_instances

    @classmethod
    def from_config(cls, cfg, is_train: bool = True) -> dict:
        """The constructor's arguments, from a config."""
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "stretch_percent": cfg.INPUT.STRETCH_PERCENT if cfg.INPUT.STRETCH else None,
            "min_area": cfg.INPUT.MIN_AREA,
            "separation": cfg.MODEL.DENSE.SEPARATION,
            "with_instances": cfg.MODEL.MASK_ON,
        }

    def __call__(self, dataset_dict: dict) -> dict:
        """Maps one dataset dict.

        Returns:
            The dict without `annotations`, and with
            image: (3, H, W) uint8 tensor;
            in training also sem_seg: (H, W) int64 tensor, 1 in nuclei and 0 outside;
            interior: (H, W) float32 tensor, see `interior_map`, with a separation; and
            instances, where they are wanted: `gt_boxes`, `gt_classes` (all 0) and `gt_masks`
            (BitMasks) of N nuclei, N = 0 for an image without any.

        Raises:
            ValueError: the file has another size than the dict says, or is unreadable.
        """
        sample = {key: value for key, value in dataset_dict.items() if key != "annotations"}
        image = read_image(dataset_dict["file_name"], self.image_format)
        expected = dataset_dict["height"], dataset_dict["width"]
        if image.shape[:2] != expected:
            raise ValueError(
                f"{dataset_dict['file_name']}: {image.shape[:2]} pixels, expected {expected}; "
                "prepare the dataset again"
            )
        if self.stretch_percent is not None:
            image = stretch_contrast(image, self.stretch_percent)
        if not self.is_train:
            if "label_file" not in sample and "annotations" in dataset_dict:
                sample["annotations"] = dataset_dict["annotations"]  # evaluation needs the truth
            sample["image"] = self.zoom(image)
            return sample
        labels = read_label_layers(dataset_dict).transpose(1, 2, 0)
        inputs = T.AugInput(image, sem_seg=labels)
        self.augmentations(inputs)
        labels = np.ascontiguousarray(inputs.sem_seg.transpose(2, 0, 1))
        sample["image"] = _to_tensor(inputs.image)
        sample["sem_seg"] = torch.from_numpy((labels > 0).any(axis=0).astype(np.int64))
        interior = interior_map(labels, self.separation)
        if interior is not None:
            sample["interior"] = torch.from_numpy(interior)
        if self.with_instances:
            sample["instances"] = labels_to_instances(labels, self.min_area)
        return sample

    def zoom(self, image: np.ndarray) -> torch.Tensor:
        """An image whose grey values are spread, as a trained model takes it.

        Args:
            image: (H, W, 3) uint8 in the model's channel order.

        Returns:
            (3, H', W') uint8.
        """
        inputs = T.AugInput(np.ascontiguousarray(image))
        self.augmentations(inputs)
        return _to_tensor(inputs.image)


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def labels_to_instances(layers: np.ndarray, min_area: int = 1) -> Instances:
    """The nuclei of label layers as Detectron2 instances.

    Args:
        layers: (L, H, W) unsigned integer label layers.
        min_area: nuclei with fewer pixels are left out.

    Returns:
        N instances with `gt_boxes` (float32 x0, y0, x1, y1 tight around the pixels), `gt_classes`
        (int64, all 0) and `gt_masks` (BitMasks of N × H × W).
    """
    parts = []
    for layer in layers:
        areas = np.bincount(layer.ravel())
        areas[0] = 0
        labels = np.flatnonzero(areas >= max(1, min_area))
        parts.append(layer == labels.astype(layer.dtype)[:, None, None])
    masks = parts[0] if len(parts) == 1 else np.concatenate(parts)
    boxes = [cv2.boundingRect(mask.view(np.uint8)) for mask in masks]
    x, y, w, h = np.array(boxes, np.float32).reshape(-1, 4).T
    instances = Instances(layers.shape[1:])
    instances.gt_boxes = Boxes(torch.from_numpy(np.stack([x, y, x + w, y + h], axis=1)))
    instances.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
    instances.gt_masks = BitMasks(torch.from_numpy(masks))
    return instances

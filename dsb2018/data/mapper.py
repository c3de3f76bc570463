"""From a dataset dict to a model's input: one mapper for training, one for evaluation."""

from collections.abc import Mapping

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import transforms as T

from dsb2018.data.augmentation import RandomOptics, RandomQuarterTurn, RandomStain, RandomZoomCrop
from dsb2018.data.preprocess import Preprocessing, to_tensor
from dsb2018.data.targets import interior_map
from dsb2018.io.images import read_image
from dsb2018.structures.contrast import stretch_contrast
from dsb2018.structures.ground_truth import read_label_layers
from dsb2018.structures.instances import to_ground_truth
from dsb2018.structures.labels import crop_layers


def build_augmentations(cfg) -> list[T.Augmentation]:
    """The training augmentations that the config asks for."""
    return [
        RandomZoomCrop(cfg.INPUT.CROP_TRAIN, tuple(cfg.INPUT.ZOOM_TRAIN)),
        T.RandomFlip(horizontal=True, vertical=False),
        RandomQuarterTurn(),
        RandomStain(cfg.INPUT.STAIN_STRENGTH, cfg.INPUT.INVERSION),
        RandomOptics(cfg.INPUT.OPTICS),
    ]


def read_dataset_image(dataset_dict: Mapping, channel_order: str = "RGB") -> np.ndarray:
    """The image of a dataset dict, (H, W, 3) uint8.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unreadable, or not of the size that the dict says.
    """
    image = read_image(dataset_dict["file_name"], channel_order)
    expected = dataset_dict["height"], dataset_dict["width"]
    if image.shape[:2] != expected:
        raise ValueError(
            f"{dataset_dict['file_name']}: {image.shape[:2]} pixels, expected {expected}; "
            "prepare the dataset again"
        )
    return image


class TrainingMapper:
    """Reads an image and its nuclei and applies augmentations to both.

    The geometric augmentations transform label layers, one array for all nuclei, not one mask for
    each. Boxes, masks and the semantic map are made from the result, so they always agree, and with
    100 nuclei in an image it is many times faster.
    """

    @configurable
    def __init__(
        self,
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
            augmentations: applied in this order.
            image_format: "RGB" or "BGR".
            stretch_percent: see `stretch_contrast`; None: the grey values stay as they are.
            min_area: nuclei with fewer pixels left after cropping are no instances, pixels.
            separation: kind of the `interior_map` that the model learns.
            with_instances: whether the model learns from instances. Dense models do not, and a mask
                for each nucleus takes time and memory.
        """
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.stretch_percent = stretch_percent
        self.min_area = min_area
        self.separation = separation
        self.with_instances = with_instances

    @classmethod
    def from_config(cls, cfg) -> dict:
        """The constructor's arguments, from a config."""
        return {
            "augmentations": build_augmentations(cfg),
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
            sem_seg: (H, W) int64 tensor, 1 in nuclei and 0 outside;
            interior: (H, W) float32 tensor, see `interior_map`, with a separation; and
            instances, where they are wanted: see `to_ground_truth`; none in an image without
            nuclei.

        Raises:
            ValueError: the file has another size than the dict says, or is unreadable.
        """
        sample = {key: value for key, value in dataset_dict.items() if key != "annotations"}
        image = read_dataset_image(dataset_dict, self.image_format)
        if self.stretch_percent is not None:
            image = stretch_contrast(image, self.stretch_percent)
        layers = read_label_layers(dataset_dict).transpose(1, 2, 0)
        inputs = T.AugInput(image, sem_seg=layers)
        self.augmentations(inputs)
        layers = np.ascontiguousarray(inputs.sem_seg.transpose(2, 0, 1))
        sample["image"] = to_tensor(inputs.image)
        sample["sem_seg"] = torch.from_numpy((layers > 0).any(axis=0).astype(np.int64))
        interior = interior_map(layers, self.separation)
        if interior is not None:
            sample["interior"] = torch.from_numpy(interior)
        if self.with_instances:
            crops = crop_layers(layers, self.min_area)
            sample["instances"] = to_ground_truth(crops, layers.shape[1:])
        return sample


class EvaluationMapper:
    """Reads an image and prepares it for a trained model; the ground truth stays in the dict."""

    def __init__(self, cfg):
        """
        Args:
            cfg: of the model.
        """
        self._preprocess = Preprocessing(cfg)

    def __call__(self, dataset_dict: dict) -> dict:
        """The dict, and what `Preprocessing.model_input` returns.

        Raises:
            ValueError: the file has another size than the dict says, or is unreadable.
        """
        image = self._preprocess(read_dataset_image(dataset_dict))
        return {**dataset_dict, **self._preprocess.model_input(image)}

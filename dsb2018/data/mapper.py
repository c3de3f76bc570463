"""Mappers from dataset dicts to model inputs: one for training, one for evaluation."""

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import transforms as T

from dsb2018.data.augmentation import (
    RandomLocalContrast,
    RandomOptics,
    RandomQuarterTurn,
    RandomStain,
    RandomZoomCrop,
)
from dsb2018.data.targets import UNKNOWN, interior_map
from dsb2018.data.virtual_stain import RandomVirtualStain
from dsb2018.images.pixels import read_dataset_image
from dsb2018.runtime.model_spec import ModelSpec
from dsb2018.runtime.preprocessing import Preprocessing
from dsb2018.structures.contrast import stretch_contrast
from dsb2018.structures.ground_truth import has_true_nuclei, read_label_layers
from dsb2018.structures.instances import to_ground_truth
from dsb2018.structures.labels import center_offsets, crop_layers, flatten_labels, label_components


def build_augmentations(cfg) -> list[T.Augmentation]:
    """Builds the training augmentations of a config."""
    inputs = cfg.INPUT
    augmentations = [
        RandomZoomCrop(inputs.CROP_TRAIN, tuple(inputs.ZOOM_TRAIN), diameter=inputs.DIAMETER),
        T.RandomFlip(horizontal=True, vertical=False),
        RandomQuarterTurn(),
    ]
    if inputs.VIRTUAL_STAIN:
        augmentations.append(RandomVirtualStain(inputs.VIRTUAL_STAIN))
    if inputs.LOCAL_CONTRAST:
        augmentations.append(RandomLocalContrast(inputs.LOCAL_CONTRAST))
    return [
        *augmentations,
        RandomStain(inputs.STAIN_STRENGTH, inputs.INVERSION),
        RandomOptics(inputs.OPTICS),
    ]


class TrainingMapper:
    """Reads an image and its nuclei, and applies augmentations to both.

    The geometric augmentations transform label layers: one array for all nuclei instead of one mask
    per nucleus. This is many times faster for an image of 100 nuclei. Boxes, masks and the semantic
    map are computed from the result, so they are always consistent.
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
            augmentations: augmentations in the order of their application.
            image_format: "RGB" or "BGR".
            stretch_percent: see `find_range`.
            min_area: minimum area of an instance after cropping, pixels.
            separation: kind of the `interior_map` in the sample.
            with_instances: whether the sample has instances. Dense models do not need them, and a
                mask for each nucleus takes time and memory.
        """
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.stretch_percent = stretch_percent
        self.min_area = min_area
        self.separation = separation
        self.with_instances = with_instances

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Returns the arguments of the constructor for a config."""
        return {
            "augmentations": build_augmentations(cfg),
            "image_format": cfg.INPUT.FORMAT,
            "stretch_percent": cfg.INPUT.STRETCH_PERCENT if cfg.INPUT.STRETCH else None,
            "min_area": cfg.INPUT.MIN_AREA,
            "separation": cfg.MODEL.DENSE.SEPARATION,
            "with_instances": cfg.MODEL.MASK_ON,
        }

    def __call__(self, dataset_dict: dict) -> dict:
        """Converts a dataset dict to a training sample.

        Returns:
            The dict without `annotations`, and with
            `image`: (3, H, W) uint8 tensor;
            `sem_seg`: (H, W) int64 tensor, 1 in nuclei and 0 outside;
            `interior`, with a separation: (H, W) float32 tensor, see `interior_map`; -1 if the
            single nuclei are not known, so that the model does not learn from it;
            `offsets`, with the separation "centers": (2, H, W) float32, see `center_offsets`;
            `instances`, with `with_instances`: see `to_ground_truth`; empty for an image without
            nuclei.

        Raises:
            ValueError: the image cannot be read, or its size is not that of the dict.
        """
        sample = {key: value for key, value in dataset_dict.items() if key != "annotations"}
        image = stretch_contrast(read_dataset_image(dataset_dict), self.stretch_percent)
        if self.image_format == "BGR":
            image = image[..., ::-1]
        layers = read_label_layers(dataset_dict).transpose(1, 2, 0)
        if not has_true_nuclei(dataset_dict):  # for the scale: most components are single nuclei
            layers = label_components(layers[..., 0] > 0)[..., None].astype(np.uint16)
        inputs = T.AugInput(np.ascontiguousarray(image), sem_seg=layers)
        self.augmentations(inputs)
        layers = np.ascontiguousarray(inputs.sem_seg.transpose(2, 0, 1))
        sample["image"] = to_tensor(inputs.image)
        sample["sem_seg"] = torch.from_numpy((layers > 0).any(axis=0).astype(np.int64))
        interior = interior_map(layers, self.separation)
        if interior is not None:
            sample["interior"] = torch.from_numpy(interior)
            if not has_true_nuclei(dataset_dict):
                sample["interior"].fill_(UNKNOWN)
        if self.separation == "centers":
            sample["offsets"] = torch.from_numpy(center_offsets(flatten_labels(layers)))
        if self.with_instances:
            crops = crop_layers(layers, self.min_area)
            sample["instances"] = to_ground_truth(crops, layers.shape[1:])
        return sample


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Converts a (H, W, C) array to a (C, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


class EvaluationMapper:
    """Reads an image and prepares it for a trained model. The ground truth is kept in the dict."""

    def __init__(self, cfg):
        """
        Args:
            cfg: config of the model.
        """
        self._preprocess = Preprocessing(ModelSpec.from_config(cfg))

    def __call__(self, dataset_dict: dict) -> dict:
        """Adds the entries of `Preprocessing.model_input` to a dataset dict.

        Raises:
            ValueError: the image cannot be read, or its size is not that of the dict.
        """
        image = self._preprocess(read_dataset_image(dataset_dict))
        inputs = self._preprocess.model_input(image)
        return {**dataset_dict, **inputs, "image": torch.from_numpy(inputs["image"])}

"""Loads trained models and predicts with them: in evaluation, comparison, tuning and prediction."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from dsb2018.checkpoint import NucleiCheckpointer
from dsb2018.errors import UsageError
from dsb2018.modeling.fuse import fuse_batch_norm
from dsb2018.modeling.precision import autocast, inference_precision
from dsb2018.runtime.postprocess import Maps
from dsb2018.runtime.scaling import ScaledModel
from dsb2018.structures.instances import read_output
from dsb2018.structures.nuclei import Prediction


class TrainedModel:
    """A model that predicts nuclei with the precision and the thresholds of its config.

    Inputs have Detectron2's format: a list of dicts with `image` (3, H', W') uint8, a tensor or an
    array, and with `height` and `width` of the output in pixels; see `Preprocessing.model_input`.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module):
        """
        Args:
            cfg: config of the model.
            model: any meta-architecture. Without a method `predict`, it must return Detectron2's
                `instances`.
        """
        self.model: Any = model
        self.parameter_count = sum(parameter.numel() for parameter in model.parameters())
        self._score_thresh = cfg.TEST.SCORE_THRESH
        self._device = cfg.MODEL.DEVICE
        self._precision = inference_precision(cfg.SOLVER.PRECISION, self._device)

    def __call__(self, batched_inputs: list[dict]) -> list[Prediction]:
        """Returns the nuclei of each image.

        Raises:
            FloatingPointError: the output of the network has NaN or infinite values.
        """
        batched_inputs = _as_tensors(batched_inputs)
        with self._inference():
            if hasattr(self.model, "predict"):
                return self.model.predict(batched_inputs)
            outputs = self.model(batched_inputs)
            return [read_output(output, self._score_thresh) for output in outputs]

    @property
    def has_maps(self) -> bool:
        """Whether it is a dense model, which `predict_maps` needs."""
        return hasattr(self.model, "predict_maps")

    def predict_maps(self, batched_inputs: list[dict]) -> list[Maps]:
        """Returns the probability maps of each image.

        Raises:
            UsageError: the model is not a dense model, so it has no probability maps.
        """
        if not self.has_maps:
            raise UsageError(
                f"{type(self.model).__name__} has no probability maps; expected a dense model"
            )
        with self._inference():
            return self.model.predict_maps(_as_tensors(batched_inputs))

    @staticmethod
    def use_threads(threads: int) -> None:
        """Sets the number of threads of torch in this process."""
        torch.set_num_threads(threads)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        with (
            evaluation_mode(self.model),
            torch.inference_mode(),
            autocast(self._precision, self._device),
        ):
            yield


def _as_tensors(batched_inputs: list[dict]) -> list[dict]:
    return [{**sample, "image": torch.as_tensor(sample["image"])} for sample in batched_inputs]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Puts a model into evaluation mode inside of the context."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()


def bring_to_scale(cfg: CfgNode, model: Any) -> Any:
    """Returns a model that processes each image at the scale that its config asks for.

    Args:
        cfg: complete config.
        model: a `TrainedModel`.
    """
    if not cfg.INPUT.DIAMETER:
        return model
    return ScaledModel(model, cfg.INPUT.DIAMETER, cfg.INPUT.MAX_SIZE_TEST)


def load_model(cfg: CfgNode) -> TrainedModel | ScaledModel:
    """Builds a model, loads its weights and prepares it for prediction.

    On a CPU, batch normalization is fused into the preceding convolutions.

    Args:
        cfg: complete config with `MODEL.WEIGHTS`.

    Raises:
        FileNotFoundError: the weights do not exist.
        UsageError: `MODEL.WEIGHTS` is empty.
        ValueError: the weights are damaged or belong to another model.
    """
    model = build_model(cfg).eval()
    NucleiCheckpointer(model).load_trained(cfg.MODEL.WEIGHTS)
    trained = TrainedModel(cfg, model)  # counts the parameters before the fusion
    if cfg.MODEL.DEVICE == "cpu":
        trained.model = fuse_batch_norm(model)
    return bring_to_scale(cfg, trained)

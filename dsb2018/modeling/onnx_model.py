"""Runs dense models that were exported to ONNX, with ONNX Runtime."""

from itertools import groupby
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from detectron2.config import CfgNode
from onnxruntime.capi import onnxruntime_pybind11_state as states

from dsb2018.modeling.dense import count_maps, output_size, read_maps
from dsb2018.modeling.finite import check_finite_output
from dsb2018.modeling.postprocess import InstanceOptions, postprocess
from dsb2018.structures.nuclei import Prediction

LOAD_ERRORS = (
    *(states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf),
    *(states.NotImplemented, states.RuntimeException),
)
DIVISOR_KEY = "size_divisibility"  # key in the metadata of the file


class OnnxModel:
    """A dense model in ONNX Runtime, with the same inputs and predictions as `TrainedModel`."""

    parameter_count = None

    def __init__(self, cfg: CfgNode):
        """
        Args:
            cfg: config of the exported model. `MODEL.WEIGHTS` is the ONNX file.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: `tools/export_model.py` did not write the file, or wrote it for a config
                with another `MODEL.DENSE.SEPARATION`; or `TEST.AUG` is enabled.
        """
        if cfg.TEST.AUG.ENABLED:
            raise ValueError("TEST.AUG.ENABLED True, expected False with the backend onnxruntime")
        path = Path(cfg.MODEL.WEIGHTS)
        if not path.is_file():
            raise FileNotFoundError(
                f"{cfg.MODEL.WEIGHTS}: no such file; write one with tools/export_model.py and pass "
                "it as MODEL.WEIGHTS"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=_providers(cfg.MODEL.DEVICE)
            )
            details = self._session.get_modelmeta().custom_metadata_map
            self._divisor = int(details[DIVISOR_KEY])
            self._check_output(count_maps(cfg.MODEL.DENSE.SEPARATION))
        except (*LOAD_ERRORS, KeyError, ValueError) as error:
            reason = error if isinstance(error, ValueError) else type(error).__name__
            raise ValueError(
                f"{path}: not a network of tools/export_model.py for this config ({reason})"
            ) from error
        self._mean, self._std = (
            np.array(values, np.float32)[:, None, None]
            for values in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
        )
        self._options = InstanceOptions.from_config(cfg)

    def _check_output(self, map_count: int) -> None:
        """Runs the network on a small image and checks its output.

        Raises:
            ValueError: the number or the size of the maps is not that of the config's model.
        """
        if not 1 <= self._divisor <= 1024:
            raise ValueError(f"{DIVISOR_KEY} {self._divisor}")
        edge = 2 * self._divisor
        outputs = self._session.run(None, {"image": np.zeros((1, 3, edge, edge), np.float32)})
        shapes = [output.shape for output in outputs]
        if shapes != [(1, map_count, edge, edge)]:
            raise ValueError(f"outputs of {shapes}, expected {map_count} maps")

    def __call__(self, batched_inputs: list[dict]) -> list[Prediction]:
        """Returns the nuclei of each image. Consecutive images of one size form a batch."""
        predictions = []
        for size, group in groupby(batched_inputs, key=lambda sample: sample["image"].shape[1:]):
            samples = list(group)
            height, width = size
            for sample, padded in zip(samples, self._logits(samples), strict=True):
                maps = read_maps(torch.from_numpy(padded[:, :height, :width]))
                predictions.append(postprocess(maps, self._options, output_size(sample)))
        return predictions

    def _logits(self, samples: list[dict]) -> np.ndarray:
        """Returns the (N, maps, H, W) float32 logits of N images of one size, padding included."""
        batch = np.stack([sample["image"].numpy() for sample in samples]).astype(np.float32)
        batch = pad((batch - self._mean) / self._std, self._divisor)
        (logits,) = self._session.run(None, {"image": batch})
        check_finite_output(torch.from_numpy(logits))
        return logits


def _providers(device: str) -> list[str]:
    available = onnxruntime.get_available_providers()
    gpu = "CUDAExecutionProvider"
    use_gpu = device.startswith("cuda") and gpu in available
    return [gpu, "CPUExecutionProvider"] if use_gpu else ["CPUExecutionProvider"]


def pad(batch: np.ndarray, divisor: int) -> np.ndarray:
    """Pads (N, C, H, W) arrays with zeros at the bottom and right to multiples of the divisor."""
    bottom, right = (-size % divisor for size in batch.shape[2:])
    return np.pad(batch, ((0, 0), (0, 0), (0, bottom), (0, right)))

"""Runs dense models that were exported to ONNX, with ONNX Runtime on the CPU."""

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from dsb2018.runtime.finite import check_finite_output
from dsb2018.runtime.maps_model import MapsModel
from dsb2018.runtime.model_spec import ModelSpec
from dsb2018.runtime.postprocess import (
    Maps,
    read_maps,
    read_probabilities,
)

LOAD_ERRORS = (
    *(states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf),
    *(states.NotImplemented, states.RuntimeException),
)
DIVISOR_KEY, SPEC_KEY = "size_divisibility", "dsb2018"  # keys in the metadata of the file
# {name of the first output: how the maps are read, the possible numbers of maps}
READERS: dict[str, tuple[Callable[[np.ndarray], Maps], tuple[int, ...]]] = {
    "logits": (read_maps, (2, 3, 5)),
    "probabilities": (read_probabilities, (1, 2, 4)),  # in packages of bioimage.io
}


class OnnxModel(MapsModel):
    """A dense model in ONNX Runtime, with the same inputs and predictions as `TrainedModel`."""

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 0,
        threshold: float | None = None,
        content: bytes | None = None,
    ):
        """
        Args:
            path: file of `dsb2018 export`.
            threads: number of threads of the network; 0: one for each core.
            threshold: minimum probability of a nucleus, 0 to 1; None: that in the file.
            content: the network, if it is only a part of the file.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: `dsb2018 export` did not write the file.
        """
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; `dsb2018 export` writes networks for ONNX Runtime"
            )
        self._source = str(path) if content is None else content
        self._sessions: dict[int, onnxruntime.InferenceSession] = {}
        try:
            self.use_threads(threads)
            details = self._session.get_modelmeta().custom_metadata_map
            self._divisor = int(details[DIVISOR_KEY])
            self.spec = ModelSpec.from_json(details[SPEC_KEY])
            self._channels = self._session.get_inputs()[0].shape[1]
            self._read, self._map_counts = READERS[self._session.get_outputs()[0].name]
            self._check_output()
            if threshold is not None:
                instances = replace(self.spec.instances, nucleus_thresh=threshold)
                self.spec = replace(self.spec, instances=instances)
        except (*LOAD_ERRORS, KeyError, ValueError, TypeError) as error:
            reason = error if isinstance(error, ValueError) else type(error).__name__
            raise ValueError(
                f"{path}: not a network of this version of dsb2018 export ({reason}); "
                "export it again"
            ) from error
        self._mean, self._std = (
            np.array(values, np.float32)[:, None, None]
            for values in (self.spec.pixel_mean, self.spec.pixel_std)
        )

    def use_threads(self, threads: int) -> None:
        """Sets the number of threads of the network; 0: one for each core."""
        if threads not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            self._sessions[threads] = onnxruntime.InferenceSession(
                self._source, options, providers=["CPUExecutionProvider"]
            )
        self._session = self._sessions[threads]

    def _check_output(self) -> None:
        """Runs the network on a small image and checks its output.

        Raises:
            ValueError: the number or the size of the maps is not one of a dense model.
        """
        if not 1 <= self._divisor <= 1024:
            raise ValueError(f"{DIVISOR_KEY} {self._divisor}")
        if self._channels not in (1, 3):
            raise ValueError(f"{self._channels} channels")
        edge = 2 * self._divisor
        shape = self._run(np.zeros((1, self._channels, edge, edge), np.float32)).shape
        if shape not in [(1, count, edge, edge) for count in self._map_counts]:
            raise ValueError(f"outputs of {shape}, expected {self._map_counts} maps")

    def predict_maps(self, batched_inputs: list[dict]) -> list[Maps]:
        """Returns the maps of each image. Consecutive images of one size form a batch.

        Raises:
            FloatingPointError: the output of the network has NaN or infinite values.
        """
        return [
            self._read(padded[:, :height, :width])
            for (height, width), group in groupby(
                batched_inputs, key=lambda sample: sample["image"].shape[1:]
            )
            for padded in self._outputs(list(group))
        ]

    def _outputs(self, samples: list[dict]) -> np.ndarray:
        """Returns the (N, maps, H, W) float32 output for N images of one size, with padding."""
        batch = np.stack([np.asarray(sample["image"]) for sample in samples]).astype(np.float32)
        batch = pad((batch - self._mean) / self._std, self._divisor)
        maps = self._run(batch[:, : self._channels])
        check_finite_output(bool(np.isfinite(maps).all()))
        return maps

    def _run(self, batch: np.ndarray) -> np.ndarray:
        return np.concatenate(self._session.run(None, {"image": batch}), axis=1)


def pad(batch: np.ndarray, divisor: int) -> np.ndarray:
    """Pads (N, C, H, W) arrays with zeros at the bottom and right to multiples of the divisor."""
    bottom, right = (-size % divisor for size in batch.shape[2:])
    return np.pad(batch, ((0, 0), (0, 0), (0, bottom), (0, right)))

"""Dense models as ONNX: written from a trained model, quantised to 8 bits, and run by ONNX Runtime.

What is exported is the network alone, from normalised images to logits (`DenseModel.maps`); what
comes before and after is the same code for both backends.
"""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime import quantization
from onnxruntime.capi import onnxruntime_pybind11_state as states
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from dsb2018.inference.nuclei import Nuclei
from dsb2018.inference.torch_backend import nuclei_of_maps
from dsb2018.modeling.dense import DenseModel, count_maps
from dsb2018.modeling.finite import check_finite_output
from dsb2018.modeling.instances import InstanceOptions

OPSET = 17
UNREADABLE = (
    *(states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf),
    *(states.NotImplemented, states.RuntimeException),
)
SHARE = 0.02  # of the weights, that stays in floats at each end of a network
COVERED = 99.99  # percent of the values that the integers cover
DIVISOR = "size_divisibility"  # name of what the file says beside the network


class OnnxBackend:
    """Runs an exported network, see `Backend`."""

    def __init__(self, cfg):
        """
        Args:
            cfg: complete; `MODEL.WEIGHTS` is the ONNX file.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not an exported network of this project.
        """
        path = Path(cfg.MODEL.WEIGHTS)
        if not path.is_file():
            raise FileNotFoundError(
                f"{cfg.MODEL.WEIGHTS}: no such file; tools/export_model.py writes one, and "
                "MODEL.WEIGHTS names it"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=_providers(cfg.MODEL.DEVICE)
            )
            details = self._session.get_modelmeta().custom_metadata_map
            self._divisor = int(details[DIVISOR])
            self._check(count_maps(cfg.MODEL.DENSE.SEPARATION))
        except (*UNREADABLE, KeyError, ValueError) as error:
            raise ValueError(
                f"{path}: not a network of tools/export_model.py ({type(error).__name__})"
            ) from error
        self._mean, self._std = (
            np.array(values, np.float32)[:, None, None]
            for values in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
        )
        self._options = InstanceOptions.from_config(cfg)

    def _check(self, maps: int) -> None:
        """Runs the network on a small image.

        Raises:
            ValueError: another number or size of maps than the config's model gives.
        """
        if not 1 <= self._divisor <= 1024:
            raise ValueError(f"{DIVISOR} {self._divisor}")
        edge = 2 * self._divisor
        outputs = self._session.run(None, {"image": np.zeros((1, 3, edge, edge), np.float32)})
        shapes = [output.shape for output in outputs]
        if shapes != [(1, maps, edge, edge)]:
            raise ValueError(f"outputs of {shapes}, expected {maps} maps")

    def find(self, images: Sequence[np.ndarray]) -> list[Nuclei]:
        """See `Backend.find`."""
        height, width = images[0].shape[:2]
        batch = np.stack([image.transpose(2, 0, 1) for image in images]).astype(np.float32)
        batch = pad((batch - self._mean) / self._std, self._divisor)
        (logits,) = self._session.run(None, {"image": batch})
        check_finite_output(torch.from_numpy(logits))
        return [
            nuclei_of_maps(
                *DenseModel.probabilities(torch.from_numpy(maps[:, :height, :width])), self._options
            )
            for maps in logits
        ]


def _providers(device: str) -> list[str]:
    there = onnxruntime.get_available_providers()
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    return [*(each for each in wanted if each in there), "CPUExecutionProvider"]


def pad(batch: np.ndarray, divisor: int) -> np.ndarray:
    """(N, C, H, W) → with zeros at the bottom and the right to multiples of the divisor."""
    bottom, right = (-size % divisor for size in batch.shape[2:])
    return np.pad(batch, ((0, 0), (0, 0), (0, bottom), (0, right)))


class _Maps(nn.Module):
    def __init__(self, model: DenseModel):
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model.maps(image)


def export(model: DenseModel, path: Path) -> None:
    """Writes the network of a model as ONNX, for images of any size and number.

    Args:
        model: on the CPU, with its weights.
        path: of the file.

    Raises:
        ValueError: a Mask R-CNN, whose operators ONNX lacks.
    """
    if not isinstance(model, DenseModel):
        raise ValueError(f"{type(model).__name__}: only models that give each pixel a class")
    edge = 4 * model.size_divisibility
    sizes = {0: "images", 2: "height", 3: "width"}
    with torch.no_grad():
        torch.onnx.export(
            _Maps(model.to(memory_format=torch.contiguous_format)).eval(),
            (torch.zeros(1, 3, edge, 2 * edge),),
            str(path),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": sizes, "logits": sizes},
            opset_version=OPSET,
            dynamo=False,
        )
    content = onnx.load(str(path))
    onnx.helper.set_model_props(content, {DIVISOR: str(model.size_divisibility)})
    onnx.save(content, str(path))


def quantise(path: Path, output: Path, images: Iterable[np.ndarray], model: DenseModel) -> None:
    """Writes an exported network in 8-bit integers.

    The first and last convolutions and those of single channels stay in floats: they hold few of
    the weights and most of the error. So foreground IoU of the light U-Net with torch's is 0.994 on
    38 images of dsb2018_val, 0.977 on the worst; with the first alone in floats 0.986 and 0.933.

    Args:
        path: of the exported network.
        output: of the quantised one.
        images: (H, W, 3) uint8 of one size, as the model takes them, some dozens of the kind that
            it will see: they say which range the integers must cover.
        model: that was exported, for its normalisation.
    """
    mean, std = (each.numpy() for each in (model.pixel_mean, model.pixel_std))
    normalised = ((image.transpose(2, 0, 1) - mean) / std for image in images)
    batches = [pad(each.astype(np.float32)[None], model.size_divisibility) for each in normalised]
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(output),
            _Batches(batches),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=["Conv"],
            calibrate_method=quantization.CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": COVERED},
            nodes_to_exclude=_kept_in_floats(onnx.load(str(prepared))),
        )


def _kept_in_floats(content: onnx.ModelProto) -> list[str]:
    """Names of convolutions: those of single channels, and from both ends as many of the others as
    hold `SHARE` of the weights."""
    sizes = {each.name: int(np.prod(each.dims)) for each in content.graph.initializer}
    nodes = [node for node in content.graph.node if node.op_type == "Conv"]
    weights = {node.name: sizes[node.input[1]] for node in nodes}
    kept = {
        node.name for node in nodes if any(a.name == "group" and a.i > 1 for a in node.attribute)
    }
    for names in (list(weights), list(weights)[::-1]):
        sums = np.cumsum([weights[name] for name in names])
        kept |= set(names[: np.searchsorted(sums, SHARE * sums[-1], side="right")])
    return sorted(kept)


class _Batches(quantization.CalibrationDataReader):
    def __init__(self, batches: Iterable[np.ndarray]):
        self._batches = iter(batches)

    def get_next(self) -> dict | None:
        """The next input, or None."""
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}

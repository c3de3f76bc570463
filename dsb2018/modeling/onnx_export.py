"""Exports dense models to ONNX and quantizes them to 8 bits.

Only the network is exported, from normalized images to logits (`DenseModel.maps`). Preprocessing
and postprocessing use the same code with torch and with ONNX Runtime.
"""

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from dsb2018.modeling.dense import DenseModel
from dsb2018.runtime.model_spec import ModelSpec
from dsb2018.runtime.onnx_model import DIVISOR_KEY, SPEC_KEY, pad

OPSET = 17
MODEL_PREFIX = "model."  # of the names of the weights, which are those of the model in `_Maps`
STORED_TYPES = {"F16": onnx.TensorProto.FLOAT16, "F32": onnx.TensorProto.FLOAT}
FLOAT_SHARE = 0.02  # share of the weights that stays in float at each end of a network
CALIBRATION_PERCENTILE = 99.99  # percentage of the values in the range of the integers


class _Maps(nn.Module):
    """Calls `DenseModel.maps` in `forward`, which the exporter runs."""

    def __init__(self, model: DenseModel):
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model.maps(image)


def export(model: DenseModel, spec: ModelSpec, path: Path, *, keep_weights: bool = False) -> None:
    """Exports the network of a model to ONNX, for any number and size of images.

    Args:
        model: model on the CPU, with its weights.
        spec: specification of the model, which becomes part of the file.
        path: file to write.
        keep_weights: whether the weights stay as they are. By default, the exporter merges
            normalizations into convolutions; ONNX Runtime does this too, when it loads the file.

    Raises:
        ValueError: the model is not a dense model but, for example, a Mask R-CNN, whose operators
            ONNX lacks.
    """
    check_dense(model)
    options = {}
    if keep_weights:
        options = {"do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE}
    edge = 4 * model.size_divisibility
    network = _Maps(model.to(memory_format=torch.contiguous_format)).eval()
    trace_to_onnx(network, torch.zeros(1, 3, edge, 2 * edge), ["logits"], path, **options)
    add_properties(path, model.size_divisibility, spec)


def check_dense(model: nn.Module) -> None:
    """Checks that a model can be exported.

    Raises:
        ValueError: it is not a dense model.
    """
    if not isinstance(model, DenseModel):
        raise ValueError(
            f"{type(model).__name__} cannot be exported to ONNX, expected a dense model such as "
            "the U-Net"
        )


def trace_to_onnx(
    network: nn.Module, example: torch.Tensor, outputs: Sequence[str], path: Path, **options
) -> None:
    """Exports a network, for any number and size of images.

    Args:
        network: in evaluation mode.
        example: (1, C, H, W) input.
        outputs: their names.
        path: file to write.
        options: of `torch.onnx.export`.
    """
    sizes = {0: "images", 2: "height", 3: "width"}
    with torch.no_grad():
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=["image"],
            output_names=list(outputs),
            dynamic_axes=dict.fromkeys(["image", *outputs], sizes),
            opset_version=OPSET,
            dynamo=False,
            **options,
        )


def add_properties(path: Path, divisor: int, spec: ModelSpec) -> None:
    """Adds what prediction needs to know to an exported network.

    Args:
        path: the exported network.
        divisor: height and width of its input are multiples of this number of pixels.
        spec: specification of the model.
    """
    content = onnx.load(str(path))
    details = {DIVISOR_KEY: str(divisor), SPEC_KEY: spec.to_json()}
    onnx.helper.set_model_props(content, details)
    onnx.save(content, str(path))


def link_weights(path: Path, weights: Path) -> None:
    """Replaces the weights in an exported network by references to a safetensors file.

    The network must have been exported with `keep_weights`. ONNX Runtime finds the safetensors file
    beside the network, and converts float16 weights to float32.

    Args:
        path: the exported network.
        weights: the weights of the same model, in the same folder.

    Raises:
        ValueError: a weight is not in the safetensors file, or has another shape there.
    """
    tensors, start = _read_header(weights)
    content = onnx.load(str(path))
    casts = []
    for tensor in content.graph.initializer:
        entry = tensors.get(tensor.name.removeprefix(MODEL_PREFIX))
        if entry is None or entry["shape"] != list(tensor.dims):
            raise ValueError(f"{weights}: no weights {tensor.name} of the shape {tensor.dims}")
        first, end = entry["data_offsets"]
        name, stored = tensor.name, f"{tensor.name}_stored"
        place = {"location": weights.name, "offset": start + first, "length": end - first}
        tensor.CopyFrom(
            onnx.TensorProto(
                name=stored,
                dims=tensor.dims,
                data_type=STORED_TYPES[entry["dtype"]],
                data_location=onnx.TensorProto.EXTERNAL,
                external_data=[
                    onnx.StringStringEntryProto(key=key, value=str(value))
                    for key, value in place.items()
                ],
            )
        )
        casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *content.graph.node]
    del content.graph.node[:]
    content.graph.node.extend(nodes)
    path.write_bytes(content.SerializeToString())
    onnx.checker.check_model(str(path))


def _read_header(weights: Path) -> tuple[dict[str, dict], int]:
    """Returns the entries of a safetensors file, and the position of the first tensor in it."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length)), 8 + length


def quantise(path: Path, output: Path, images: Iterable[np.ndarray], model: DenseModel) -> None:
    """Quantizes an exported network to 8-bit integers.

    The first, the last and the grouped convolutions stay in float. They have few of the weights and
    would cause most of the error. For the light U-Net on 38 images of dsb2018_val, the IoU between
    the foreground of the quantized network and that of torch is 0.994, and 0.977 on the worst
    image. With only the first convolution in float, it is 0.986 and 0.933.

    Args:
        path: the exported network.
        output: file to write.
        images: (H, W, 3) uint8 images of one size, preprocessed for the model. Some dozens of
            typical images are needed to calibrate the range of the integers.
        model: the exported model, for its normalization.
    """
    mean, std = (values.numpy() for values in (model.pixel_mean, model.pixel_std))
    arrays = ((image.transpose(2, 0, 1) - mean) / std for image in images)
    batches = [pad(array.astype(np.float32)[None], model.size_divisibility) for array in arrays]
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
            extra_options={"CalibPercentile": CALIBRATION_PERCENTILE},
            nodes_to_exclude=_float_nodes(onnx.load(str(prepared))),
        )


def _float_nodes(content: onnx.ModelProto) -> list[str]:
    """Returns the names of the convolutions that stay in float.

    These are the grouped convolutions, and the first and the last convolutions that together have
    at most `FLOAT_SHARE` of the weights.
    """
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in content.graph.initializer}
    nodes = [node for node in content.graph.node if node.op_type == "Conv"]
    weights = {node.name: sizes[node.input[1]] for node in nodes}
    names = {
        node.name for node in nodes if any(a.name == "group" and a.i > 1 for a in node.attribute)
    }
    for order in (list(weights), list(weights)[::-1]):
        sums = np.cumsum([weights[name] for name in order])
        names |= set(order[: np.searchsorted(sums, FLOAT_SHARE * sums[-1], side="right")])
    return sorted(names)


class _Batches(quantization.CalibrationDataReader):
    """The inputs of the calibration."""

    def __init__(self, batches: Iterable[np.ndarray]):
        self._batches = iter(batches)

    def get_next(self) -> dict | None:
        """Returns the next input, or None after the last one."""
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}

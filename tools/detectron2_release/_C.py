"""Replaces Detectron2's compiled module `_C` in a build without C++ operators.

In such a build, deformable convolution comes from torchvision (`detectron2.layers.deform_conv`) and
the COCO evaluation from `detectron2.evaluation.fast_eval_api`. Rotated boxes are not available.
"""

OPERATORS = (
    "box_iou_rotated",
    "deform_conv_backward_filter",
    "deform_conv_backward_input",
    "deform_conv_forward",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
    "nms_rotated",
    "roi_align_rotated_backward",
    "roi_align_rotated_forward",
)


def get_compiler_version() -> str:
    """Returns the entry in `collect_env_info`."""
    return "not compiled"


def get_cuda_version() -> str:
    """Returns the entry in `collect_env_info`."""
    return "not compiled"


def has_cuda() -> bool:
    """Returns whether the operators were compiled for CUDA."""
    return False


def __getattr__(name: str):
    if name not in OPERATORS:
        raise AttributeError(f"module 'detectron2._C' has no attribute {name!r}")

    def missing_operator(*args, **kwargs):
        raise NotImplementedError(
            f"detectron2._C.{name}: Detectron2 was installed without its C++ operators; build it "
            "from source, see https://detectron2.readthedocs.io/tutorials/install.html"
        )

    return missing_operator

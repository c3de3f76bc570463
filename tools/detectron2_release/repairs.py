"""Adapts release 0.6 of Detectron2 (November 2021) to current Python, NumPy, Pillow and torch.

`repair` changes the sources of the release before a wheel is built from them. Every change states
how often its pattern must match, so that another release is refused instead of changed in part.
"""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Repair(NamedTuple):
    """A change of the sources.

    Args:
        reason: why the change is needed.
        files: glob pattern, relative to the root of the release.
        pattern: regular expression.
        replacement: of the pattern, for `re.sub`.
        count: expected number of matches in all files.
    """

    reason: str
    files: str
    pattern: str
    replacement: str
    count: int


REPAIRS = (
    Repair(
        "NumPy 1.24 removed np.int, np.float, np.object and np.bool",
        *("detectron2/**/*.py", r"\bnp\.(int|float|object|bool)\b", r"\1", 18),
    ),
    Repair(
        "Pillow 10 removed Image.LINEAR",
        *("detectron2/data/transforms/transform.py", r"\bImage\.LINEAR\b", "Image.BILINEAR", 1),
    ),
    Repair(
        "the base class of schedulers is LRScheduler since torch 2.0",
        *("detectron2/**/*.py", r"\blr_scheduler\._LRScheduler\b", "lr_scheduler.LRScheduler", 7),
    ),
    Repair(
        "the base class of schedulers is LRScheduler since torch 2.0",
        *("projects/DeepLab/**/*.py", r"\b_LRScheduler\b", "LRScheduler", 2),
    ),
    Repair(
        "random.sample does not accept a set since Python 3.11",
        "detectron2/data/common.py",
        r"sample\(self\._fallback_candidates,",
        "sample(list(self._fallback_candidates),",
        1,
    ),
    Repair(
        "setuptools 81 removed pkg_resources",
        *("detectron2/model_zoo/model_zoo.py", r"^import pkg_resources\n", "", 1),
    ),
    Repair(
        "setuptools 81 removed pkg_resources",
        "detectron2/model_zoo/model_zoo.py",
        r"pkg_resources\.resource_filename\(\s*\"detectron2\.model_zoo\", "
        r"os\.path\.join\(\"configs\", config_path\)\s*\)",
        'os.path.join(os.path.dirname(__file__), "configs", config_path)',
        1,
    ),
    Repair(
        "torch no longer contains Caffe2; the other exporters work without it",
        "detectron2/export/__init__.py",
        r"^from \.api import \*\n",
        "try:\n    from .api import *\nexcept ImportError:  # Caffe2\n    pass\n",
        1,
    ),
    Repair(
        "torch.meshgrid warns if `indexing` is missing",
        "detectron2/modeling/anchor_generator.py",
        r"torch\.meshgrid\(shifts_y, shifts_x\)",
        'torch.meshgrid(shifts_y, shifts_x, indexing="ij")',
        1,
    ),
    Repair(
        "torchvision provides deformable convolution for CPU and GPU",
        "detectron2/layers/deform_conv.py",
        r"^deform_conv = _DeformConv\.apply\nmodulated_deform_conv = _ModulatedDeformConv\.apply\n",
        '''def deform_conv(
    input, offset, weight, stride=1, padding=0, dilation=1, groups=1, deformable_groups=1, step=64
):
    """Replaces `_DeformConv.apply`; the shapes imply the groups."""
    sizes = map(_pair, (stride, padding, dilation))
    return deform_conv2d(input, offset, weight, None, *sizes)


def modulated_deform_conv(
    input, offset, mask, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, deformable=1
):
    """Replaces `_ModulatedDeformConv.apply`; the shapes imply the groups."""
    sizes = map(_pair, (stride, padding, dilation))
    return deform_conv2d(input, offset, weight, bias, *sizes, mask)
''',
        1,
    ),
)
FILES = {  # file in this folder → its path in the release
    "_C.py": "detectron2/_C.py",
    "fast_eval_api.py": "detectron2/evaluation/fast_eval_api.py",
}


def repair(root: Path) -> None:
    """Changes the sources of the release.

    Args:
        root: folder of the unpacked release.

    Raises:
        ValueError: a pattern matches more or less often than in release 0.6.
    """
    for change in REPAIRS:
        matches = 0
        for path in sorted(root.glob(change.files)):
            text, count = re.subn(change.pattern, change.replacement, path.read_text(), flags=re.M)
            if count:
                path.write_text(text)
            matches += count
        if matches != change.count:
            raise ValueError(
                f"{change.files}: pattern {change.pattern!r} found {matches} times, expected "
                f"{change.count}"
            )
    for name, path in FILES.items():
        shutil.copy(HERE / name, root / path)

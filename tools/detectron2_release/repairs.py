"""What release 0.6 of Detectron2 (November 2021) needs on today's Python, NumPy, Pillow and torch.

`repair` changes the sources of the release before a wheel is built of them. Every change says how
often its pattern must be found, so that another release is never changed half.
"""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Repair(NamedTuple):
    """A change of the sources.

    Args:
        reason: why.
        files: a pattern of file names below the root of the release.
        pattern: regular expression.
        replacement: for `re.sub`.
        count: number of places, in all files together.
    """

    reason: str
    files: str
    pattern: str
    replacement: str
    count: int


REPAIRS = (
    Repair(
        "np.int, np.float, np.object and np.bool left NumPy in 1.24",
        *("detectron2/**/*.py", r"\bnp\.(int|float|object|bool)\b", r"\1", 18),
    ),
    Repair(
        "Image.LINEAR left Pillow in version 10",
        *("detectron2/data/transforms/transform.py", r"\bImage\.LINEAR\b", "Image.BILINEAR", 1),
    ),
    Repair(
        "torch's schedulers derive from LRScheduler since 2.0",
        *("detectron2/**/*.py", r"\blr_scheduler\._LRScheduler\b", "lr_scheduler.LRScheduler", 7),
    ),
    Repair(
        "as above",
        *("projects/DeepLab/**/*.py", r"\b_LRScheduler\b", "LRScheduler", 2),
    ),
    Repair(
        "random.sample takes no set since Python 3.11",
        "detectron2/data/common.py",
        r"sample\(self\._fallback_candidates,",
        "sample(list(self._fallback_candidates),",
        1,
    ),
    Repair(
        "pkg_resources left setuptools in version 81",
        *("detectron2/model_zoo/model_zoo.py", r"^import pkg_resources\n", "", 1),
    ),
    Repair(
        "as above",
        "detectron2/model_zoo/model_zoo.py",
        r"pkg_resources\.resource_filename\(\s*\"detectron2\.model_zoo\", "
        r"os\.path\.join\(\"configs\", config_path\)\s*\)",
        'os.path.join(os.path.dirname(__file__), "configs", config_path)',
        1,
    ),
    Repair(
        "Caffe2 is no more; the other exporters work without it",
        "detectron2/export/__init__.py",
        r"^from \.api import \*\n",
        "try:\n    from .api import *\nexcept ImportError:  # Caffe2\n    pass\n",
        1,
    ),
    Repair(
        "torch.meshgrid warns without it",
        "detectron2/modeling/anchor_generator.py",
        r"torch\.meshgrid\(shifts_y, shifts_x\)",
        'torch.meshgrid(shifts_y, shifts_x, indexing="ij")',
        1,
    ),
    Repair(
        "torchvision has deformable convolution for processors and GPUs",
        "detectron2/layers/deform_conv.py",
        r"^deform_conv = _DeformConv\.apply\nmodulated_deform_conv = _ModulatedDeformConv\.apply\n",
        '''def deform_conv(
    input, offset, weight, stride=1, padding=0, dilation=1, groups=1, deformable_groups=1, step=64
):
    """As `_DeformConv.apply`; groups follow from the shapes."""
    sizes = map(_pair, (stride, padding, dilation))
    return deform_conv2d(input, offset, weight, None, *sizes)


def modulated_deform_conv(
    input, offset, mask, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, deformable=1
):
    """As `_ModulatedDeformConv.apply`; groups follow from the shapes."""
    sizes = map(_pair, (stride, padding, dilation))
    return deform_conv2d(input, offset, weight, bias, *sizes, mask)
''',
        1,
    ),
)
FILES = {  # ours → its place
    "_C.py": "detectron2/_C.py",
    "fast_eval_api.py": "detectron2/evaluation/fast_eval_api.py",
}


def repair(root: Path) -> None:
    """Changes the sources.

    Args:
        root: of the unpacked release.

    Raises:
        ValueError: a pattern is found more or less often than in release 0.6.
    """
    for change in REPAIRS:
        found = 0
        for path in sorted(root.glob(change.files)):
            text, count = re.subn(change.pattern, change.replacement, path.read_text(), flags=re.M)
            if count:
                path.write_text(text)
            found += count
        if found != change.count:
            raise ValueError(
                f"{change.files}: {change.pattern!r} found {found} times, expected {change.count}"
            )
    for name, place in FILES.items():
        shutil.copy(HERE / name, root / place)

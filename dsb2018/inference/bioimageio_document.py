"""The documentation in a package of bioimage.io."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from dsb2018 import __version__
from dsb2018.runtime.model_spec import ModelSpec


@dataclass(frozen=True)
class PackageDetails:
    """What the model itself does not know.

    Args:
        name: of the model.
        authors: their names.
        license: identifier of SPDX, such as "Apache-2.0".
        scores: {dataset: {score: percent}} of the validation.
        is_gray: whether the input has one channel instead of red, green and blue.
    """

    name: str
    authors: Sequence[str]
    license: str
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    is_gray: bool = False


def document(spec: ModelSpec, details: PackageDetails, outputs: Sequence[str]) -> str:
    """Returns the documentation of the package."""
    channels = (
        "One channel."
        if details.is_gray
        else "Three channels: red, green and blue; of a gray image, the same channel three times."
    )
    scale = (
        f"The model works on images in which nuclei have a diameter of about {spec.diameter:g} "
        "pixels. Resize images of another magnification before they enter the model, and the "
        "result afterwards. `dsb2018 predict` estimates the diameter and does this by itself."
        if spec.diameter
        else "The model processes images at the scale of the file."
    )
    center = (
        "`offsets` are vectors from each pixel to the center of its nucleus, downwards and to the "
        "right, in pixels. Pixels of `nucleus` above the threshold whose vectors end at the same "
        "place form one nucleus."
        if "offsets" in outputs
        else "Connected pixels of `nucleus` above the threshold form a nucleus; touching nuclei "
        "are divided by a watershed whose seeds are the peaks of `interior`, if it exists."
    )
    options = json.dumps(asdict(spec.instances))
    rows = [
        f"| {dataset} | {name} | {value:.1f} |"
        for dataset, values in details.scores.items()
        for name, value in values.items()
    ]
    table = "\n".join(["| dataset | score | percent |", "|---|---|---|", *rows])
    source = (
        table
        if rows
        else "No scores are known. Compare the result with some images of your own whose nuclei "
        "you outlined by hand."
    )
    return f"""# {details.name}

Segments the nuclei of cells in microscopy images: fluorescence, stained sections and bright field.
Written by dsb2018 {__version__}.

## Use

```bash
dsb2018 predict --input my_images --output results --model PACKAGE.zip
```

finds and measures the nuclei; `PACKAGE.zip` is the file that contains this text. Other programs
that run models of bioimage.io get the maps below.

## Input

{channels} Gray values may have any range. {scale}

## Output

`probabilities` has the probability that a pixel is part of a nucleus (`nucleus`) and, if the model
has this map, the probability of the interior of a nucleus, which is low where two nuclei touch
(`interior`). {center}

The options of the step from maps to nuclei in `dsb2018 predict` are `{options}`.

## Validation

{source}

Before you use the model on a new kind of image, look at the outlines in at least 20 images, and
count the nuclei that are missed, false, merged or split.
"""

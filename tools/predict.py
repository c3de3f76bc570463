"""Segments and measures the nuclei in images.

    python tools/predict.py --input my_images --output output/nuclei
    python tools/predict.py --input … --output … --config-file configs/mask_rcnn/lite0_FPN.yaml \\
        --weights output/mask_rcnn/lite0_FPN/model_final.pth

Reads PNG, JPEG, BMP, TIFF (OME, ImageJ, stacks) and OME-Zarr. Writes nuclei.csv with one row per
nucleus, images.csv with one row per image, and the formats of --format, by default label images and
overlays.
"""

import sys

from dsb2018.commands import predict


def main(arguments: list[str] | None = None) -> int:
    return predict.main(arguments, text=__doc__)


if __name__ == "__main__":
    sys.exit(main())

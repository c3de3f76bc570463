"""Chooses the thresholds by which a dense model's maps become nuclei, and writes them to a YAML.

    python tools/tune_instances.py --config-file configs/unet/unet_light.yaml \\
        --output tuned.yaml MODEL.WEIGHTS output/unet/unet_light/model_final.pth

What is written is a config: the given one with the best thresholds (but not the KEY VALUE pairs
of this command). The images are those of DATASETS.TEST, a validation set; the score is the Data
Science Bowl's mAP.
"""

import sys

from dsb2018.engine import argument_parser
from dsb2018.engine.tuning import tune_command


def main(arguments: list[str] | None = None) -> int:
    parser = argument_parser(epilog=__doc__)
    parser.add_argument("--output", required=True, help="the YAML that is written")
    args = parser.parse_args(arguments)
    try:
        options, best = tune_command(args)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"mAP {best:.1f} with {options}\nWritten: {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

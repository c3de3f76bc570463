"""Trains and evaluates any model of this project.

    python tools/train_net.py --config-file configs/mask_rcnn/lite0_FPN.yaml
    python tools/train_net.py --config-file … --resume
    python tools/train_net.py --config-file … --eval-only MODEL.WEIGHTS dsb2018://mask_rcnn_lite0_FPN

Uses CUDA if a GPU is available, else the CPU. KEY VALUE pairs at the end override the config.
Scores are written to OUTPUT_DIR/inference/<dataset>/results.json.
"""

import sys

from dsb2018.commands.train import main

if __name__ == "__main__":
    sys.exit(main(text=__doc__))

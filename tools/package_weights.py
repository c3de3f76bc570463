"""Puts the weights of a finished run into the package, to be loaded as `dsb2018://NAME`.

    python tools/package_weights.py --name mask_rcnn_lite0_FPN \\
        --config-file configs/mask_rcnn/lite0_FPN.yaml --run output/mask_rcnn/lite0_FPN

Writes `NAME.safetensors` (float16), `NAME.yaml`, the whole config, and `NAME.json`, the record of
where they come from: datasets, commands, and the scores of the run (the rounding to float16 changes
them a little).
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from dsb2018.cli import run_command
from dsb2018.config import read_config
from dsb2018.engine import Trainer
from dsb2018.errors import UsageError
from dsb2018.files import read_json, sha256, write_atomically
from dsb2018.modeling import NucleiCheckpointer
from dsb2018.modeling.weights import FOLDER, save_packaged
from dsb2018.names import file_name


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", required=True, help="of the weights")
    parser.add_argument("--config-file", required=True, help="that the run was started with")
    parser.add_argument("--run", required=True, type=Path, help="OUTPUT_DIR of the run")
    parser.add_argument(
        "--command", action="append", help="that the run was started with; each, if several"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to (the package)")
    return run_command(parser, run, arguments)


def run(args: argparse.Namespace) -> None:
    name = file_name(args.name)
    if name != args.name:
        raise UsageError(f"--name {args.name!r}, expected the name of a file, such as {name!r}")
    cfg = read_config(args.config_file)
    whole = read_config(args.config_file, ["MODEL.WEIGHTS", f"dsb2018://{name}"])
    whole.MODEL.DEVICE = "cuda"  # of whoever loads it, where there is one
    cfg.MODEL.DEVICE = "cpu"
    if not cfg.DATASETS.TEST:
        raise UsageError(f"{args.config_file}: DATASETS.TEST is empty, so there are no scores")
    model_file = args.run / "model_final.pth"
    results = args.run / "inference" / cfg.DATASETS.TEST[0] / "results.json"
    for path in (model_file, results):
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file; has the run ended?")
    scores = read_json(results)
    if not isinstance(scores, dict):
        raise ValueError(f"{results}: expected the scores of a run")
    model = Trainer.build_model(cfg)
    NucleiCheckpointer(model).load_trained(str(model_file))
    args.folder.mkdir(parents=True, exist_ok=True)
    weights = args.folder / f"{name}.safetensors"
    save_packaged(model, weights)
    record = {
        "config": args.config_file,
        "commands": args.command or [f"python tools/train_net.py --config-file {args.config_file}"],
        "trained_on": list(cfg.DATASETS.TRAIN),
        "evaluated_on": cfg.DATASETS.TEST[0],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "torch": torch.__version__,
        "sha256": sha256(weights),
        "scores": scores,
    }
    write_atomically(args.folder / f"{name}.yaml", whole.dump())
    write_atomically(args.folder / f"{name}.json", json.dumps(record, indent=2) + "\n")
    print(f"{weights}: {weights.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())

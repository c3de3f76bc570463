"""Adds the weights of a finished run to the package, where `dsb2018://NAME` loads them.

    python tools/package_weights.py --name mask_rcnn_lite0_FPN \\
        --config-file configs/mask_rcnn/lite0_FPN.yaml --run output/mask_rcnn/lite0_FPN

Writes three files: NAME.safetensors, the weights in float16; NAME.yaml, the complete config; and
NAME.json, a record of the datasets, the commands and the scores of the run. With --onnx, NAME.onnx
is the network of a dense model, for prediction without torch; it refers to NAME.safetensors.
Rounding to float16 changes the scores slightly.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from dsb2018.checkpoint import FOLDER, NucleiCheckpointer
from dsb2018.checkpoint.packaging import save_packaged
from dsb2018.cli import output_folder, run_command
from dsb2018.config import read_config
from dsb2018.engine import Trainer
from dsb2018.errors import UsageError
from dsb2018.io.files import read_json, sha256, write_atomically
from dsb2018.io.names import file_name
from dsb2018.options import make_parser
from dsb2018.runtime.model_spec import ModelSpec


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--name", required=True, help="name of the weights")
    add("--config-file", required=True, metavar="YAML", help="config of the run")
    add("--run", required=True, type=Path, metavar="DIR", help="OUTPUT_DIR of the run")
    add(
        "--command",
        action="append",
        metavar="TEXT",
        help="command that trained the weights, for the record; may be given several times",
    )
    add("--onnx", action="store_true", help="also add the network for ONNX Runtime")
    add(
        "--output",
        type=output_folder,
        default=FOLDER,
        metavar="DIR",
        help="folder for the three files (default: the weights folder of the package)",
    )
    return run_command(parser, run, arguments)


def run(args: argparse.Namespace) -> None:
    name = file_name(args.name)
    if name != args.name:
        raise UsageError(f"--name {args.name!r}, expected a valid file name, such as {name!r}")
    cfg = read_config(args.config_file)
    packaged_cfg = read_config(args.config_file, ["MODEL.WEIGHTS", f"dsb2018://{name}"])
    packaged_cfg.MODEL.DEVICE = "cuda"  # `read_config` changes it to "cpu" if there is no GPU
    cfg.MODEL.DEVICE = "cpu"
    if not cfg.DATASETS.TEST:
        raise UsageError(
            f"{args.config_file}: DATASETS.TEST is empty, expected the dataset of the scores"
        )
    model_file = args.run / "model_final.pth"
    results = args.run / "inference" / cfg.DATASETS.TEST[0] / "results.json"
    for path in (model_file, results):
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file; has the run ended?")
    scores = read_json(results)
    if not isinstance(scores, dict):
        raise ValueError(f"{results}: not a JSON object, expected the scores of a run")
    model = Trainer.build_model(cfg)
    NucleiCheckpointer(model).load_trained(str(model_file))
    args.output.mkdir(parents=True, exist_ok=True)
    weights = args.output / f"{name}.safetensors"
    save_packaged(model, weights)
    NucleiCheckpointer(model).load_trained(str(weights))  # export what was rounded
    network = weights.with_suffix(".onnx")
    if args.onnx:
        from dsb2018.modeling.onnx_export import export, link_weights  # onnx is optional

        export(model.eval(), ModelSpec.from_config(cfg), network, keep_weights=True)
        link_weights(network, weights)
    record = {
        "config": args.config_file,
        "commands": args.command or [f"python tools/train_net.py --config-file {args.config_file}"],
        "trained_on": list(cfg.DATASETS.TRAIN),
        "evaluated_on": cfg.DATASETS.TEST[0],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "torch": torch.__version__,
        "sha256": sha256(weights),
        **({"onnx_sha256": sha256(network)} if args.onnx else {}),
        "scores": scores,
    }
    write_atomically(args.output / f"{name}.yaml", packaged_cfg.dump())
    write_atomically(args.output / f"{name}.json", json.dumps(record, indent=2) + "\n")
    print(f"{weights}: {weights.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())

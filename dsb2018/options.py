"""Command-line options that several tools share."""

import argparse

from dsb2018.cli import output_folder

Options = argparse.ArgumentParser | argparse._ArgumentGroup


def make_parser(text: str) -> argparse.ArgumentParser:
    """Returns a parser whose help starts with the purpose of the tool and ends with examples.

    Args:
        text: docstring of the tool: purpose, empty line, and the text after the options.
    """
    purpose, _, details = text.partition("\n\n")
    return argparse.ArgumentParser(
        description=purpose, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_model(parser: Options) -> None:
    """Adds `--model`."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="packaged model (nuclei, fast, unet_light, mask_rcnn, …), config (YAML), folder of a "
        "training, ONNX file, or package of bioimage.io (default: nuclei)",
    )
    parser.add_argument("--config-file", dest="model", help=argparse.SUPPRESS)  # as in train_net.py


def add_weights_and_opts(parser: Options) -> None:
    """Adds `--weights` and `--opts`, which change a model."""
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="other weights for the model: a file, or a name such as dsb2018://unet_light",
    )
    add_opts(parser)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--config-file`, `--weights` and `--opts`."""
    add = parser.add_argument
    add("--config-file", metavar="YAML", required=True, help="config of the model")
    add(
        "--weights",
        metavar="FILE",
        help="trained weights: a file, or a name such as dsb2018://unet_light (default: "
        "model_final.pth in the config's OUTPUT_DIR, else the weights in this package)",
    )
    add_opts(parser)


def add_opts(parser: Options) -> None:
    """Adds `--opts`."""
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="pairs of a config key and a value, which override the config file; must come last",
    )


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--data`."""
    parser.add_argument(
        "--data",
        metavar="ROOT",
        help="folder of the prepared datasets (default: $DETECTRON2_DATASETS/dsb2018, else "
        "./datasets/dsb2018)",
    )


def add_output_folder(parser: Options, content: str) -> None:
    """Adds `--output`.

    Args:
        parser: parser of the tool.
        content: description of the files that the tool writes, for the help.
    """
    parser.add_argument(
        "--output", required=True, type=output_folder, metavar="DIR", help=f"folder for {content}"
    )


def read_options(args: argparse.Namespace) -> list[str]:
    """Returns KEY, VALUE, … of `--opts` and `--weights`."""
    return [*args.opts, *(["MODEL.WEIGHTS", args.weights] if args.weights else [])]

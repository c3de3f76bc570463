"""The options of `dsb2018 predict`."""

import argparse
from functools import partial

from dsb2018.inference.export.base import EXPORTERS
from dsb2018.inference.export.run_exporters import join_parts  # noqa: F401 registers the formats
from dsb2018.inference.groups import Grouping
from dsb2018.inference.model_files import BACKENDS
from dsb2018.inference.predictor import LARGEST_DIAMETER, SMALLEST_DIAMETER
from dsb2018.inference.selection import Area
from dsb2018.inference.tiling.tiles import Tiling
from dsb2018.options import add_model, add_output_folder, add_weights_and_opts


def predict_parser(text: str = "", *, is_short: bool = False) -> argparse.ArgumentParser:
    """Returns the argument parser of the command.

    Args:
        text: purpose and examples, which the help begins with.
        is_short: whether `--help` fits on a screen. It then leaves out rarely needed options, which
            `--help-all` shows.
    """
    parser = argparse.ArgumentParser(
        description=text,
        usage="dsb2018 predict --input PATH [PATH …] --output DIR [options]",
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=22),
    )
    _add_input(parser.add_argument_group("images"))
    _add_steering(parser.add_argument_group("nuclei"))
    results = parser.add_argument_group("results")
    add_output_folder(results, "the results")
    _add_results(results)
    _add_cluster(parser.add_argument_group("many images (docs/distributed.md)"))
    rare = parser.add_argument_group("rarely needed")
    _add_rare(rare)
    if is_short:
        for action in rare._group_actions:
            action.help = argparse.SUPPRESS
        parser.add_argument("--help-all", action=_HelpAll, nargs=0, help="show all options")
    return parser


class _HelpAll(argparse.Action):
    """Prints the help with all options."""

    def __call__(self, parser, namespace, values, option_string=None):
        print(predict_parser(parser.description or "").format_help())
        parser.exit()


def _add_input(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--input",
        nargs="+",
        required=True,
        metavar="PATH",
        help="files, folders, or quoted patterns such as 'images/**/*.tif'",
    )
    add("--recursive", action="store_true", help="also search the subfolders of folders")
    add(
        "--channel",
        metavar="NAME",
        help="nuclear channel: name, or index from 0; in colored sections also `hematoxylin`, "
        "`eosin` or `dab`, the amount of this stain",
    )
    add(
        "--pixel-size",
        type=_pixel_size,
        metavar="UM",
        help="width of a pixel in µm (default: that in the file)",
    )


def _add_steering(group: argparse._ArgumentGroup) -> None:
    add_model(group)
    add = group.add_argument
    add(
        "--diameter",
        type=_diameter,
        metavar="PIXELS",
        help="diameter of the nuclei (default: estimated for each image)",
    )
    add(
        "--threshold",
        type=_share,
        metavar="P",
        help="minimum probability, 0 to 1: lower finds fainter nuclei, with wider outlines "
        "(default: the model's, 0.5 for nuclei)",
    )
    add(
        "--min-area",
        type=_area,
        metavar="AREA",
        help="leave out smaller nuclei: 80 (pixels) or 12.5um2",
    )
    add("--max-area", type=_area, metavar="AREA", help="leave out larger nuclei")
    add("--exclude-border", action="store_true", help="leave out nuclei at the image border")
    add(
        "--measure-only",
        metavar="PATH",
        help="measure the nuclei in this folder instead of searching: label images, ROI archives "
        "or GeoJSON, for example after a correction; or those in a COCO JSON file",
    )


def _add_results(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--format",
        nargs="+",
        choices=list(EXPORTERS),
        metavar="FORMAT",
        default=["labels", "overlay", "page"],
        help=f"besides the tables: {', '.join(EXPORTERS)} (default: labels overlay page)",
    )
    add(
        "--group",
        type=_grouping,
        metavar="PATTERN",
        help="summarize groups of images: `folder`, or a regular expression with named fields, "
        r"such as '(?P<treatment>\w+)_(?P<well>[A-H]\d+)'",
    )
    add(
        "--gamma",
        type=_gamma,
        metavar="G",
        help="brightness of the pictures: less than 1 shows faint nuclei (default: chosen for each "
        "image)",
    )


def _add_cluster(group: argparse._ArgumentGroup) -> None:
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--workers", type=_count, metavar="N", help="number of processes on this machine"
    )
    either.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="scheduler of a Dask cluster: tcp://node1:8786, or the JSON file that it writes",
    )


def _add_rare(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--crops", action="store_true", help="the same as adding crops to --format")
    for name, default, text in (
        ("--tile", Tiling.edge, "width of the tiles of large images"),
        ("--overlap", Tiling.margin, "margin of a tile, more than the largest nucleus"),
    ):
        add(name, type=int, default=default, metavar="PIXELS", help=f"{text} (default: {default})")
    add(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="library that runs the network (default: auto: onnxruntime where it can)",
    )
    add_weights_and_opts(group)


def _pixel_size(text: str) -> float:
    return _number(text, 1e-6, 1e6, "micrometers, such as 0.325")


def _diameter(text: str) -> float:
    return _number(text, SMALLEST_DIAMETER, LARGEST_DIAMETER, "pixels, such as 24")


def _share(text: str) -> float:
    return _number(text, 0, 1, "a number from 0 to 1")


def _count(text: str) -> int:
    return int(_number(text, 1, 10_000, "a number of processes, such as 4"))


def _gamma(text: str) -> float:
    return _number(text, 0.1, 5, "a number from 0.1 to 5")


def _number(text: str, low: float, high: float, expected: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}")
    return number


def _area(text: str) -> Area:
    try:
        return Area.from_text(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _grouping(text: str) -> Grouping:
    try:
        return Grouping(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error

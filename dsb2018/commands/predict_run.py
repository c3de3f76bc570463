"""Opens what a prediction needs, in the process of the command or in a worker of a cluster."""

import argparse
import pickle
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import dsb2018
from dsb2018.errors import UsageError
from dsb2018.inference.cluster import NamedPath, share_parts
from dsb2018.inference.export.base import choose_exporters
from dsb2018.inference.export.worker import ExportHere
from dsb2018.inference.given_nuclei import GivenNuclei
from dsb2018.inference.large_images import LargeImage
from dsb2018.inference.model_files import has_gpu
from dsb2018.inference.opened_model import DEFAULT
from dsb2018.inference.predictor import Predictor
from dsb2018.inference.run import PredictionRun
from dsb2018.inference.selection import Selection
from dsb2018.inference.tiling.tiles import Tiling

Source = Predictor | GivenNuclei
UNSET = (None, False, [])  # values of options that were not given
# Arguments that do not change the results of a file.
IRRELEVANT_ARGUMENTS = ("input", "output", "recursive", "debug", "group", "workers", "dask")


def settings(args: argparse.Namespace) -> dict[str, str]:
    """Returns the version, the model, and the options that were given or have a default."""
    model = args.model or DEFAULT
    return {"version": dsb2018.__version__, **({} if args.measure_only else {"--model": model})} | {
        f"--{name.replace('_', '-')}": " ".join(map(str, value))
        if isinstance(value, list)
        else str(value)
        for name, value in vars(args).items()
        if name not in ("output", "debug") and value not in UNSET
    }


def open_source(args: argparse.Namespace) -> Source:
    """Opens what the nuclei come from: a model, or files.

    Raises:
        UsageError: options do not fit together. See also `Predictor` and `GivenNuclei`.
    """
    if args.measure_only:
        given = {"--model": args.model, "--weights": args.weights, "--opts": args.opts}
        given |= {"--diameter": args.diameter, "--threshold": args.threshold}
        if names := [name for name, value in given.items() if value not in (None, [])]:
            raise UsageError(f"--measure-only: {names[0]} has no effect, as no model is used")
        return GivenNuclei(args.input, Path(args.measure_only), args.output)
    return Predictor(
        args.model,
        args.weights,
        options=args.opts,
        backend=args.backend,
        tiling=Tiling(args.tile, args.overlap, whole=max(args.tile, Tiling.whole)),
        diameter=args.diameter,
        threshold=args.threshold,
    )


def open_run(args: argparse.Namespace, source: Source, **options: object) -> PredictionRun:
    """Opens a run; `options` are further arguments of `PredictionRun`."""
    relevant = {
        name: str(value) for name, value in vars(args).items() if name not in IRRELEVANT_ARGUMENTS
    }
    return PredictionRun(
        source,
        args.output,
        choose_exporters([*args.format, *(["crops"] if args.crops else [])]),
        args.channel,
        args.pixel_size,
        relevant,
        Selection(args.min_area, args.max_area, args.exclude_border),
        args.gamma,
        **options,  # type: ignore[arg-type]
    )


def process_files(
    args: argparse.Namespace, files: Sequence[NamedPath], names: frozenset[str]
) -> list[str]:
    """Processes some files in a worker; see `share_files`."""
    share = partial(_share, args)
    with open_run(args, _worker_source(args), worker=ExportHere(), share=share) as run:
        return run.work_on(files, names)


def _share(args: argparse.Namespace, step: str, large: LargeImage, count: int) -> None:
    work = partial(process_parts, args, step, large)
    share_parts(work, count, f"{large.image}: {step}")


def process_parts(
    args: argparse.Namespace, step: str, large: LargeImage, numbers: Sequence[int]
) -> None:
    """Processes some parts of a large image in a worker; see `share_parts`."""
    with open_run(args, _worker_source(args), worker=ExportHere()) as run:
        run.large_images.work(step, large, numbers)


def _worker_source(args: argparse.Namespace) -> Source:
    return _open_once(pickle.dumps(args))


@lru_cache(maxsize=1)
def _open_once(arguments: bytes) -> Source:
    """Opens the model of the last arguments, which a worker keeps."""
    if has_gpu():
        _choose_gpu()
    return open_source(pickle.loads(arguments))


def _choose_gpu() -> None:
    """Divides the GPUs of a machine among the workers that Dask has numbered."""
    import torch
    from distributed import get_worker

    number, count = get_worker().name, torch.cuda.device_count()
    if isinstance(number, int) and count:
        torch.cuda.set_device(number % count)

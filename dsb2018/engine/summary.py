"""What a person reads at the end of a run: the main scores, and where everything is."""

from collections.abc import Mapping
from pathlib import Path

# task → its name on screen and the metrics that are shown; results.json has all of them
SHOWN = {
    "bbox": ("boxes", ("AP", "AP50", "AP75")),
    "segm": ("masks", ("AP", "AP50", "AP75")),
    "sem_seg": ("pixels", ("IoU", "mIoU", "Dice", "accuracy")),
    "nuclei": ("nuclei", ("mAP", "AP50", "F1@50", "PQ", "AJI", "count_error")),
}


def score_table(results: Mapping[str, Mapping[str, float]]) -> str:
    """The main scores, a line for each task.

    Args:
        results: {task: {metric: percent}}; tasks and metrics that are absent are left out.
    """
    lines = []
    for task, (title, names) in SHOWN.items():
        metrics = results.get(task, {})
        shown = [f"{name} {metrics[name]:.1f}" for name in names if name in metrics]
        if shown:
            lines.append(f"  {title:8}" + "   ".join(shown))
    return "\n".join(lines)


def places(output_dir: str | Path, dataset_names: tuple[str, ...]) -> str:
    """The files of a run that are there, a line for each kind."""
    output = Path(output_dir)
    inference = [output / "inference" / name for name in dataset_names]
    found = {
        "model": [output / "model_final.pth"],
        "results": [folder / "results.json" for folder in inference],
        "overlays": [folder / "overlays" for folder in inference],
        "log": [output / "log.txt"],
        "metrics": [output / "metrics.json"],
    }
    lines = [
        f"  {kind:9}{path}" for kind, paths in found.items() for path in paths if path.exists()
    ]
    return "\n".join(lines)

"""Summary at the end of a run: main scores and output files."""

import math
from collections.abc import Mapping
from pathlib import Path

from dsb2018.evaluation.metrics import Show, shown

# Names of the tasks in the summary.
TASKS = {"bbox": "boxes", "segm": "masks", "sem_seg": "pixels", "nuclei": "nuclei"}


def summarize_scores(results: Mapping[str, Mapping[str, float]]) -> str:
    """Returns the main scores as text, one line per task.

    Args:
        results: {task: {metric: percent}}; missing metrics, and tasks without any score, are
            skipped.
    """
    metrics = shown(Show.LOG).values()
    lines = []
    for task, title in TASKS.items():
        names = [metric.short_name for metric in metrics if metric.task == task]
        scores = results.get(task, {})
        known = [name for name in names if not math.isnan(scores.get(name, math.nan))]
        cells = [f"{name} {scores[name]:.1f}" for name in names if name in scores]
        if known:
            lines.append(f"  {title:8}" + "   ".join(cells))
    return "\n".join(lines)


def list_outputs(output_dir: str | Path, dataset_names: tuple[str, ...]) -> str:
    """Returns the paths of the existing output files and folders of a run, one per line.

    Args:
        output_dir: `OUTPUT_DIR` of the run.
        dataset_names: datasets that were evaluated.
    """
    output = Path(output_dir)
    inference = [output / "inference" / name for name in dataset_names]
    candidates = {
        "model": [output / "model_final.pth"],
        "results": [folder / "results.json" for folder in inference],
        "overlays": [folder / "overlays" for folder in inference],
        "log": [output / "log.txt"],
        "metrics": [output / "metrics.json"],
    }
    lines = [
        f"  {kind:9}{path}" for kind, paths in candidates.items() for path in paths if path.exists()
    ]
    return "\n".join(lines)

"""The code in docs/extending.md, docs/detectron2.md and docs/own-data.md runs unchanged."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest

PAGES = Path(__file__).resolve().parents[1] / "docs"


def code_of(page: str, heading: str = "", language: str = "python") -> str:
    """Returns the code blocks of a page, or of one of its sections."""
    text = (PAGES / page).read_text()
    if heading:
        text = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
    assert blocks, f"{page}: no {language} code under {heading!r}"
    return "\n".join(blocks)


@pytest.fixture
def checkout(project, sample_root, tmp_path):
    """A folder like a checkout, with configs, tools and the prepared sample."""
    shutil.copytree(project / "configs", tmp_path / "configs")
    (tmp_path / "tools").symlink_to(project / "tools")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "dsb2018").symlink_to(sample_root)
    return tmp_path


def run(code: str, folder: Path, project: Path) -> str:
    """Runs the code in a new process and returns its output."""
    (folder / "page.py").write_text(code)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "page.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def command(module: str, *arguments: str) -> str:
    """Returns code that runs a command, as in a script of a user."""
    return textwrap.dedent(
        f"""
        import sys
        if __name__ == "__main__":
            from dsb2018.commands.{module} import *
            sys.exit(main({list(arguments)!r}))
        """
    )


def test_stock_detectron2_parts(checkout, project):
    printed = run(code_of("detectron2.md"), checkout, project)
    stock, project_score, _ = (float(number) for number in printed.split()[-3:])
    # Detectron2's evaluator uses at most 100 nuclei per image, which is enough for the sample.
    assert stock == pytest.approx(project_score, abs=0.2)
    assert stock > 30
    assert (checkout / "output" / "prediction.png").exists()
    assert (checkout / "output" / "stock" / "model_final.pth").exists()


def test_new_model_and_metric(checkout, project):
    (checkout / "configs" / "mine.yaml").write_text(code_of("extending.md", "A model", "yaml"))
    options = ["SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "INPUT.CROP_TRAIN", "64"]
    options += ["DATALOADER.NUM_WORKERS", "0", "TEST.EVAL_PERIOD", "1"]
    options += ["TEST.BEST_METRIC", "nuclei/missed", "OUTPUT_DIR", "output/mine"]
    options += ["DATASETS.TRAIN", "('dsb2018_sample_train',)"]
    options += ["DATASETS.TEST", "('dsb2018_sample_val',)"]
    code = code_of("extending.md", "A model") + code_of("extending.md", "A metric")
    code += command("train", "--config-file", "configs/mine.yaml", *options)
    run(code, checkout, project)
    results = checkout / "output" / "mine" / "inference" / "dsb2018_sample_val" / "results.json"
    scores = json.loads(results.read_text())["nuclei"]
    assert 0 <= scores["missed"] <= 100
    assert "missed/histology" in scores
    log = (checkout / "output" / "mine" / "log.txt").read_text()
    assert f"missed {scores['missed']:.1f}" in log
    assert "Best nuclei/missed" in log


def test_new_dataset(checkout, project):
    (checkout / "my_images").mkdir()
    image, layers = np.zeros((256, 256), np.uint8), np.zeros((1, 256, 256), np.uint8)
    cv2.circle(layers[0], (100, 90), 12, 1, -1)
    image[layers[0] > 0] = 200
    cv2.imwrite(str(checkout / "my_images" / "a.png"), cv2.GaussianBlur(image, (0, 0), 1))
    np.save(checkout / "my_images" / "a.npy", layers)
    arguments = ["--config-file", "configs/unet/unet_light.yaml", "--eval-only"]
    arguments += ["MODEL.WEIGHTS", "dsb2018://unet_light", "OUTPUT_DIR", "output/mine"]
    arguments += ["DATASETS.TEST", "('my_dataset',)", "DATALOADER.NUM_WORKERS", "0"]
    run(code_of("extending.md", "A dataset") + command("train", *arguments), checkout, project)
    results = checkout / "output" / "mine" / "inference" / "my_dataset" / "results.json"
    assert json.loads(results.read_text())["nuclei"]["AP50"] == 100


def test_coco_file_that_is_registered(checkout, project):
    (checkout / "my_data" / "images").mkdir(parents=True)
    image = np.zeros((128, 128), np.uint8)
    square = [[30.0, 30.0, 60.0, 30.0, 60.0, 60.0, 30.0, 60.0]]
    cv2.rectangle(image, (30, 30), (59, 59), 200, -1)
    cv2.imwrite(str(checkout / "my_data" / "images" / "a.png"), image)
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "height": 128, "width": 128}],
        "categories": [{"id": 7, "name": "nucleus"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "iscrowd": 0, "area": 900}
            | {"bbox": [30, 30, 30, 30], "segmentation": square}
        ],
    }
    (checkout / "my_data" / "annotations.json").write_text(json.dumps(coco))
    heading = "Datasets that you register yourself"
    (checkout / "configs" / "mine.yaml").write_text(code_of("own-data.md", heading, "yaml"))
    arguments = ["--config-file", "configs/mine.yaml", "MODEL.WEIGHTS", "dsb2018://unet_light"]
    arguments += ["SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "INPUT.CROP_TRAIN", "64"]
    code = f"import sys\nsys.argv[1:] = {arguments}\n" + code_of("own-data.md", heading)
    run(code, checkout, project)
    results = checkout / "output" / "mine" / "inference" / "my_nuclei" / "results.json"
    assert json.loads(results.read_text())["nuclei"]["AP50"] == 100


def test_new_image_format_and_output_format(checkout, project):
    image = np.zeros((128, 128), np.uint8)
    cv2.circle(image, (40, 70), 12, 200, -1)
    np.savez(checkout / "a.npz", image=image)
    code = code_of("extending.md", "An image format") + code_of("extending.md", "An output format")
    code += textwrap.dedent(
        """
        if __name__ == "__main__":
            import sys
            from dsb2018.commands import predict
            arguments = ["--input", "a.npz", "--output", "output/mine", "--format", "centroids"]
            sys.exit(predict.main(arguments))
        """
    )
    assert "1 of 1 files done, 1 nuclei" in run(code, checkout, project)
    ((x, y),) = json.loads((checkout / "output/mine/centroids/a.json").read_text())
    assert (x, y) == pytest.approx((40, 70), abs=1)
    run(code, checkout, project)  # the second run finds all results

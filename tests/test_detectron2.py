"""Tests of the Detectron2 that `tools/install_detectron2.py` builds.

It must work without dsb2018, so each test runs in a process that does not import it first.
"""

import json
import subprocess
import sys
import textwrap

import pytest
from detectron2_release.repairs import REPAIRS, repair

from dsb2018 import compat

# Imports the libraries once, and runs each code that it gets in a copy of itself.
SERVER = """
import json, os, sys
import numpy, PIL.Image, torch
import detectron2.data, detectron2.evaluation, detectron2.layers, detectron2.modeling

for line in sys.stdin:
    code, arguments, folder = json.loads(line)
    child = os.fork()
    if not child:
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{folder}/{name}", os.O_CREAT | os.O_WRONLY), number)
        sys.argv[1:] = arguments
        exec(code, {"__name__": "__main__"})
        sys.stdout.flush()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def run_python(tmp_path_factory):
    """A function that runs code in a new process and returns its output.

    It fails if the code fails, or if Detectron2 prints a warning.
    """
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as server:

        def run(code: str, *arguments: str) -> str:
            folder = tmp_path_factory.mktemp("process")
            request = json.dumps([textwrap.dedent(code), arguments, str(folder)])
            print(request, file=server.stdin, flush=True)
            status = server.stdout.readline()
            errors = (folder / "stderr").read_text()
            assert status == "0\n", errors
            assert "detectron2/" not in errors
            return (folder / "stdout").read_text().strip()

        yield run
        server.stdin.close()
        assert "detectron2/" not in server.stderr.read()


def test_all_modules_can_be_imported(run_python):
    run_python(
        """
        from detectron2.modeling import build_model
        import detectron2.engine, detectron2.evaluation, detectron2.export, detectron2.projects
        from detectron2.export import TracingAdapter, scripting_with_instances
        from detectron2.utils.collect_env import collect_env_info
        from detectron2.utils.visualizer import Visualizer
        assert "PyTorch" in collect_env_info()
        """
    )


def test_model_zoo_has_its_configs(run_python):
    output = run_python(
        """
        from detectron2 import model_zoo
        cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
        print(cfg.MODEL.META_ARCHITECTURE)
        """
    )
    assert output == "GeneralizedRCNN"


def test_map_dataset_replaces_images_that_a_mapper_drops(run_python):
    output = run_python(
        """
        from detectron2.data import MapDataset
        dataset = MapDataset(list(range(10)), lambda x: None if x < 9 else x)
        print(dataset[0], dataset[3])
        """
    )
    assert output == "9 9"


def test_state_of_torch_schedulers_is_saved(run_python):
    output = run_python(
        """
        import torch
        from detectron2.engine.hooks import LRScheduler
        from detectron2.engine.train_loop import TrainerBase

        model = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), 1.0)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        hook = LRScheduler(optimizer, scheduler)
        hook.trainer = TrainerBase()
        optimizer.step()
        scheduler.step()
        print(hook.state_dict()["last_epoch"])
        """
    )
    assert output == "1"


def test_deformable_convolution_without_offsets_equals_convolution(run_python):
    run_python(
        """
        import torch
        from detectron2.layers import DeformConv, ModulatedDeformConv

        image = torch.rand(2, 4, 9, 8, requires_grad=True)
        for kind, mask in ((DeformConv, ()), (ModulatedDeformConv, (torch.ones(2, 18, 9, 8),))):
            layer = kind(4, 6, 3, padding=1, groups=2, deformable_groups=2)
            output = layer(image, torch.zeros(2, 36, 9, 8), *mask)
            expected = torch.nn.functional.conv2d(image, layer.weight, None, padding=1, groups=2)
            torch.testing.assert_close(output, expected)
            output.sum().backward()
        """
    )


def test_rotated_boxes_raise_an_error(run_python):
    run_python(
        """
        import torch
        from detectron2.structures import RotatedBoxes, pairwise_iou_rotated

        boxes = RotatedBoxes(torch.rand(2, 5))
        try:
            pairwise_iou_rotated(boxes, boxes)
        except NotImplementedError as error:
            assert "installed without its C++ operators" in str(error)
        else:
            raise AssertionError
        from detectron2 import _C
        assert not _C.has_cuda() and not hasattr(_C, "no_such_operator")
        """
    )


def test_fast_evaluation_equals_pycocotools(run_python, sample_root):
    """The detections are boxes of true nuclei, moved by 0, 1 or 4 pixels, with random scores."""
    output = run_python(
        """
        import contextlib, copy, io, json, random, sys
        import numpy as np
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
        from detectron2.evaluation.fast_eval_api import COCOeval_opt

        random.seed(0)
        with contextlib.redirect_stdout(io.StringIO()):
            ground_truth = COCO(sys.argv[1])
            detections = [
                {
                    "image_id": nucleus["image_id"], "category_id": 1, "score": random.random(),
                    "bbox": [nucleus["bbox"][0] + random.choice([0, 1, 4]), *nucleus["bbox"][1:]],
                }
                for nucleus in ground_truth.dataset["annotations"]
            ]
            results = ground_truth.loadRes(copy.deepcopy(detections))
            for use_categories in (0, 1):
                stats = []
                for cls in (COCOeval, COCOeval_opt):
                    evaluation = cls(copy.deepcopy(ground_truth), copy.deepcopy(results), "bbox")
                    evaluation.params.useCats = use_categories
                    evaluation.evaluate(); evaluation.accumulate(); evaluation.summarize()
                    stats.append(np.array(evaluation.stats[:12], float))
                np.testing.assert_allclose(*stats, atol=1e-9)
                assert 0 < stats[0][0] < 1
        print(type(evaluation._fast).__name__)
        """,
        str(sample_root / "annotations" / "dsb2018_sample_val.json"),
    )
    assert output == "COCOeval_faster"


def test_error_without_detectron2_names_the_installer(run_python):
    for missing in ("detectron2", "detectron2._C"):
        output = run_python(
            f"""
            import importlib.util
            from dsb2018 import compat
            find = importlib.util.find_spec
            importlib.util.find_spec = lambda name: None if name == {missing!r} else find(name)
            try:
                compat.require_detectron2()
            except ImportError as error:
                print(error)
            """
        )
        assert "tools/install_detectron2.py" in output


def test_importing_dsb2018_does_not_change_other_libraries(run_python):
    run_python(
        """
        import numpy, PIL.Image, torch
        before = torch.optim.lr_scheduler._LRScheduler
        import dsb2018.engine
        assert torch.optim.lr_scheduler._LRScheduler is before
        assert not hasattr(numpy, "int") and not hasattr(PIL.Image, "LINEAR")
        """
    )
    assert callable(compat.require_detectron2)


def test_repair_refuses_another_release(tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "a.py").write_text("import numpy as np\nx = np.int(3)\n")
    with pytest.raises(ValueError, match=r"found 1 times, expected \d+"):
        repair(tmp_path)


def test_repairs_have_a_reason_and_a_count():
    assert all(change.reason and change.count for change in REPAIRS)

"""Detectron2 as `tools/install_detectron2.py` builds it stands by itself: nothing here imports
dsb2018 first. Each case runs in a process of its own."""

import subprocess
import sys
import textwrap

import pytest
from detectron2_release.repairs import REPAIRS, repair

from dsb2018 import compat


def python(code: str, *arguments: str) -> str:
    """What the code prints, in a fresh process that shows no warning of Detectron2's own."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "detectron2/" not in done.stderr
    return done.stdout.strip()


def test_every_part_can_be_imported():
    python(
        """
        from detectron2.modeling import build_model
        import detectron2.engine, detectron2.evaluation, detectron2.export, detectron2.projects
        from detectron2.export import TracingAdapter, scripting_with_instances
        from detectron2.utils.collect_env import collect_env_info
        from detectron2.utils.visualizer import Visualizer
        assert "PyTorch" in collect_env_info()
        """
    )


def test_the_model_zoo_has_its_configs():
    found = python(
        """
        from detectron2 import model_zoo
        cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
        print(cfg.MODEL.META_ARCHITECTURE)
        """
    )
    assert found == "GeneralizedRCNN"


def test_a_mapper_that_returns_none_gets_another_image():
    found = python(
        """
        from detectron2.data import MapDataset
        dataset = MapDataset(list(range(10)), lambda x: None if x < 9 else x)
        print(dataset[0], dataset[3])
        """
    )
    assert found == "9 9"


def test_the_state_of_torchs_own_schedulers_is_saved():
    found = python(
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
    assert found == "1"


def test_deformable_convolution_without_offsets_is_a_convolution():
    python(
        """
        import torch
        from detectron2.layers import DeformConv, ModulatedDeformConv

        image = torch.rand(2, 4, 9, 8, requires_grad=True)
        for kind, mask in ((DeformConv, ()), (ModulatedDeformConv, (torch.ones(2, 18, 9, 8),))):
            layer = kind(4, 6, 3, padding=1, groups=2, deformable_groups=2)
            found = layer(image, torch.zeros(2, 36, 9, 8), *mask)
            plain = torch.nn.functional.conv2d(image, layer.weight, None, padding=1, groups=2)
            torch.testing.assert_close(found, plain)
            found.sum().backward()
        """
    )


def test_rotated_boxes_say_what_is_missing():
    python(
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


def test_the_fast_evaluation_is_that_of_pycocotools(sample_root):
    """Of the true nuclei, moved by a pixel and with random scores; judged by pycocotools."""
    found = python(
        """
        import contextlib, copy, io, json, random, sys
        import numpy as np
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
        from detectron2.evaluation.fast_eval_api import COCOeval_opt

        random.seed(0)
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(sys.argv[1])
            detections = [
                {
                    "image_id": each["image_id"], "category_id": 1, "score": random.random(),
                    "bbox": [each["bbox"][0] + random.choice([0, 1, 4]), *each["bbox"][1:]],
                }
                for each in truth.dataset["annotations"]
            ]
            results = truth.loadRes(copy.deepcopy(detections))
            stats = []
            for kind in (COCOeval, COCOeval_opt):
                evaluation = kind(copy.deepcopy(truth), copy.deepcopy(results), "bbox")
                evaluation.evaluate(); evaluation.accumulate(); evaluation.summarize()
                stats.append(np.array(evaluation.stats[:12], float))
        np.testing.assert_allclose(*stats, atol=1e-9)
        assert 0 < stats[0][0] < 1
        print(COCOeval_opt.__mro__[1].__name__)
        """,
        str(sample_root / "annotations" / "dsb2018_sample_val.json"),
    )
    assert found == "COCOeval_faster"


def test_without_detectron2_the_message_says_what_to_do():
    for missing in ("detectron2", "detectron2._C"):
        found = python(
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
        assert "tools/install_detectron2.py" in found


def test_nothing_is_changed_by_importing_this_project():
    python(
        """
        import numpy, PIL.Image, torch
        before = torch.optim.lr_scheduler._LRScheduler
        import dsb2018.engine
        assert torch.optim.lr_scheduler._LRScheduler is before
        assert not hasattr(numpy, "int") and not hasattr(PIL.Image, "LINEAR")
        """
    )
    assert callable(compat.require_detectron2)


def test_another_release_is_not_changed_half(tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "a.py").write_text("import numpy as np\nx = np.int(3)\n")
    with pytest.raises(ValueError, match=r"found 1 times, expected \d+"):
        repair(tmp_path)


def test_every_repair_says_why():
    assert all(each.reason and each.count for each in REPAIRS)

"""The repairs for release 0.6, and that they are inert elsewhere. What they touch is shared by the
whole process, so each case runs in one of its own."""

import subprocess
import sys
import textwrap

import pytest
import torch

from dsb2018 import compat

NEEDS_RELEASE = pytest.mark.skipif(not compat._is_release_06(), reason="not release 0.6")


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_second_call_repairs_nothing():
    assert compat.apply() == []


def test_all_parts_that_the_project_uses_can_be_imported():
    python(
        """
        from dsb2018 import compat
        compat.apply()
        import detectron2.engine, detectron2.export, detectron2.model_zoo, detectron2.projects
        import detectron2.utils.collect_env as env
        from detectron2.export import TracingAdapter
        assert "PyTorch" in env.collect_env_info()
        """
    )


@NEEDS_RELEASE
def test_release_06_is_repaired_by_name():
    names = python("from dsb2018 import compat; print(*compat.apply())").split()
    assert {"numpy_aliases", "pillow_linear", "scheduler_base_class"} <= set(names)


def test_upstream_main_is_left_alone():
    found = python(
        """
        import numpy, PIL.Image, torch
        from dsb2018 import compat
        compat._is_release_06 = lambda: False
        compat._missing_extension = lambda: False  # main is built with its C++ sources
        before = set(vars(numpy)), set(vars(PIL.Image)), torch.optim.lr_scheduler._LRScheduler
        print(compat._numpy_aliases(), compat._pillow_linear(), compat._scheduler_base_class(),
              compat._export_without_caffe2(), compat._map_dataset_fallback())
        after = set(vars(numpy)), set(vars(PIL.Image)), torch.optim.lr_scheduler._LRScheduler
        assert before == after
        """
    )
    assert found == "False False False False False"


def test_mapper_that_returns_none_gets_another_image():
    found = python(
        """
        from dsb2018 import compat
        compat.apply()
        from detectron2.data import MapDataset
        dataset = MapDataset(list(range(10)), lambda x: None if x < 9 else x)
        print(dataset[0], dataset[3])
        """
    )
    assert found == "9 9"


def test_state_of_torchs_own_schedulers_is_saved():
    from detectron2.engine.hooks import LRScheduler
    from detectron2.engine.train_loop import TrainerBase

    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    hook = LRScheduler(optimizer, scheduler)
    hook.trainer = TrainerBase()
    optimizer.step()
    scheduler.step()
    assert hook.state_dict()["last_epoch"] == 1


def test_without_detectron2_the_message_says_what_to_do():
    found = python(
        """
        import importlib.util
        from dsb2018 import compat
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name == "detectron2" else find(name)
        try:
            compat.apply()
        except ImportError as error:
            print(error)
        """
    )
    assert "tools/install_detectron2.py" in found

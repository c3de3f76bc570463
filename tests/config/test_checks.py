import math

import pytest

from dsb2018.config import ConfigError, get_dsb2018_cfg, read_config
from dsb2018.config.checks import ALLOWED, Choice, Each, Range, check_values, find_value
from tests.configs import CONFIGS

UNET = str(CONFIGS / "unet" / "unet_light.yaml")


def test_range():
    assert 0 in Range(0, 1)
    assert 1.0 in Range(0, 1)
    assert 0 not in Range(0, 1, above=True)
    assert 1 not in Range(0, 1, below=True)
    for value in (-0.1, 1.1, math.nan, math.inf, True, "1", None):
        assert value not in Range(0, 1)
    assert str(Range(-math.inf)) == "a number"
    assert str(Range(0)) == "0 or more"
    assert str(Range(0, above=True)) == "a number above 0"
    assert str(Range(0, 1)) == "a number from 0 to 1"
    assert str(Range(0, 50, below=True)) == "a number from 0 to below 50"


def test_lists():
    pair = Each(Range(1), count=2, rising=True)
    assert [1, 2] in pair
    for values in ([2, 1], [1], [1, 2, 3], [0, 1], [], 3, ["a", "b"]):
        assert values not in pair
    assert [] not in Each(Choice(("a",)))
    assert ["a", "a"] in Each(Choice(("a",)))
    assert str(pair) == "2 values, each 1 or more, in ascending order"


@pytest.mark.parametrize("key", sorted(ALLOWED))
def test_key_exists_and_default_is_allowed(key):
    assert find_value(get_dsb2018_cfg(), key) in ALLOWED[key]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INPUT.STRETCH_PERCENT", 60),
        ("INPUT.STRETCH_PERCENT", -5),
        ("INPUT.MIN_AREA", -5),
        ("INPUT.MAX_SIZE_TEST", 0),
        ("INPUT.ZOOM_TEST", 0),
        ("INPUT.ZOOM_TRAIN", [2.0, 1.0]),
        ("INPUT.CROP_TRAIN", 0),
        ("SOLVER.BASE_LR", 0),
        ("SOLVER.MAX_ITER", 0),
        ("SOLVER.IMS_PER_BATCH", 0),
        ("SOLVER.EMA_DECAY", 1),
        ("SOLVER.CHECKPOINT_PERIOD", 0),
        ("DATALOADER.NUM_WORKERS", -1),
        ("TEST.SCORE_THRESH", 1.5),
        ("MODEL.PIXEL_STD", [0.0, 1.0, 1.0]),
        ("MODEL.UNET.DEPTH", 0),
        ("MODEL.DENSE.LOSSES", []),
        ("DATASETS.TRAIN", (3,)),
    ],
)
def test_values_out_of_range(key, value):
    with pytest.raises(ConfigError, match=rf"unet_light\.yaml: {key} .*, expected"):
        read_config(UNET, [key, value if isinstance(value, str) else repr(value)])


def test_wrong_type_in_list():
    cfg = get_dsb2018_cfg()
    cfg.INPUT.ZOOM_TRAIN = ["a", "b"]
    with pytest.raises(ValueError, match="INPUT.ZOOM_TRAIN"):
        check_values(cfg)

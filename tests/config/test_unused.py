import logging

import pytest

from dsb2018.config import get_dsb2018_cfg, read_config
from dsb2018.config.unused import WITHOUT_EFFECT, warn_of_unused
from tests.configs import CONFIGS

CONFIG = str(CONFIGS / "unet" / "unet.yaml")


@pytest.mark.parametrize(
    ("key", "value", "advice"),
    [
        ("SOLVER.AMP.ENABLED", True, "use SOLVER.PRECISION"),
        ("INPUT.MIN_SIZE_TEST", 512, "use INPUT.ZOOM_TEST"),
        ("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", "DATALOADER.MODALITY_POWER"),
    ],
)
def test_warning_for_key_without_effect_is_logged_once(caplog, key, value, advice):
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            read_config(CONFIG, [key, value])
    (record,) = caplog.records
    assert f"{key} {value} has no effect" in record.message
    assert advice in record.message


def test_project_configs_have_no_key_without_effect(caplog):
    with caplog.at_level(logging.WARNING):
        for path in CONFIGS.rglob("*.yaml"):
            read_config(str(path))
    assert not caplog.records


def test_all_keys_exist():
    warn_of_unused(get_dsb2018_cfg(), "defaults")  # raises KeyError for a key that does not exist
    assert len(WITHOUT_EFFECT) > 10

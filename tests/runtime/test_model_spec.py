import json

import pytest

from dsb2018.runtime.model_spec import ModelSpec
from tests.configs import small_cfg


def test_a_specification_is_written_and_read():
    for cfg in (small_cfg(), small_cfg("INPUT.STRETCH", False, "INPUT.FORMAT", "BGR")):
        spec = ModelSpec.from_config(cfg)
        assert ModelSpec.from_json(spec.to_json()) == spec
    assert spec.stretch_percent is None
    assert spec.channel_order == "BGR"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diameter": "24"}, "diameter '24', expected a number"),
        ({"diameter": -1}, "diameter -1, expected 0 to 1000"),
        ({"zoom": 0}, "zoom 0, expected"),
        ({"zoom": True}, "zoom True, expected a number"),
        ({"max_size": 1e12}, "max_size"),
        ({"stretch_percent": 60}, "stretch_percent 60"),
        ({"pixel_std": [1, 1, 0]}, "smallest of pixel_std 0"),
        ({"pixel_mean": [1, 1]}, "expected 3 numbers"),
        ({"channel_order": "CMYK"}, "channel_order 'CMYK'"),
        ({"instances": {}}, "options of the nuclei"),
        ({"instances": None}, "options of the nuclei"),
        ({"more": 1}, "other entries"),
    ],
)
def test_damaged_specifications(changes, message):
    values = json.loads(ModelSpec.from_config(small_cfg()).to_json())
    with pytest.raises(ValueError, match=message):
        ModelSpec.from_json(json.dumps({**values, **changes}))


def test_damaged_options_of_nuclei():
    values = json.loads(ModelSpec.from_config(small_cfg()).to_json())
    values["instances"]["method"] = "guess"
    with pytest.raises(ValueError, match="MODEL.INSTANCES.METHOD 'guess'"):
        ModelSpec.from_json(json.dumps(values))
    for option, value in (
        ("min_area", "8"),
        ("max_hole", None),
        ("seeds", 1),
        ("seed_depth", True),
    ):
        values = json.loads(ModelSpec.from_config(small_cfg()).to_json())
        values["instances"][option] = value
        with pytest.raises(ValueError, match=f"option {option} of the nuclei is {value!r}"):
            ModelSpec.from_json(json.dumps(values))
    for text in ("[]", "1", "{", '""'):
        with pytest.raises(ValueError):  # noqa: PT011 json has its own messages
            ModelSpec.from_json(text)

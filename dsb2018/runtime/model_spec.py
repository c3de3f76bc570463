"""What a trained model needs besides its network: how images enter it, and how maps are read."""

import json
from dataclasses import asdict, dataclass, fields

from dsb2018.runtime.postprocess import InstanceOptions


@dataclass(frozen=True)
class ModelSpec:
    """The part of a config that prediction needs. An exported network contains it as JSON.

    Args:
        diameter: of the nuclei that the model is made for, pixels; 0: any.
        zoom: factor by which images are resized if `diameter` is 0.
        max_size: maximum length of the longest edge of an image that is enlarged, pixels.
        stretch_percent: see `find_range`; None: the contrast is not stretched.
        channel_order: "RGB" or "BGR".
        pixel_mean, pixel_std: 3 values each, in gray values, in the channel order.
        instances: how maps become nuclei.
    """

    diameter: float
    zoom: float
    max_size: int
    stretch_percent: float | None
    channel_order: str
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    instances: InstanceOptions

    @classmethod
    def from_config(cls, cfg) -> "ModelSpec":
        """Returns the specification of the model of a complete config."""
        return cls(
            diameter=float(cfg.INPUT.DIAMETER),
            zoom=float(cfg.INPUT.ZOOM_TEST),
            max_size=int(cfg.INPUT.MAX_SIZE_TEST),
            stretch_percent=float(cfg.INPUT.STRETCH_PERCENT) if cfg.INPUT.STRETCH else None,
            channel_order=cfg.INPUT.FORMAT,
            pixel_mean=tuple(map(float, cfg.MODEL.PIXEL_MEAN)),
            pixel_std=tuple(map(float, cfg.MODEL.PIXEL_STD)),
            instances=InstanceOptions.from_config(cfg),
        )

    def to_json(self) -> str:
        """Returns the text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """Reads a specification, which may come from anybody.

        Raises:
            ValueError: it is damaged.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or set(values) != {field.name for field in fields(cls)}:
            raise ValueError("the specification of the model has other entries than expected")
        options = values["instances"]
        names = {field.name for field in fields(InstanceOptions)}
        if not isinstance(options, dict) or set(options) != names:
            raise ValueError("the options of the nuclei are not those of this version")
        for name, default in asdict(InstanceOptions()).items():
            kind = str if isinstance(default, str) else (int, float)
            if not isinstance(options[name], kind) or isinstance(options[name], bool):
                raise ValueError(f"the option {name} of the nuclei is {options[name]!r}")
        spec = cls(
            **{
                **values,
                "pixel_mean": tuple(_numbers(values["pixel_mean"])),
                "pixel_std": tuple(_numbers(values["pixel_std"])),
                "instances": InstanceOptions(**options),
            }
        )
        spec._check()
        return spec

    def _check(self) -> None:
        limits = {
            "diameter": (self.diameter, 0, 1000),
            "zoom": (self.zoom, 0.05, 20),
            "max_size": (self.max_size, 16, 1 << 20),
            "stretch_percent": (self.stretch_percent or 0.0, 0, 49.9),
            "the smallest of pixel_std": (min(self.pixel_std, default=0), 1e-3, 1e6),
        }
        for name, (value, low, high) in limits.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{name} {value!r}, expected a number")
            if not low <= value <= high:
                raise ValueError(f"{name} {value}, expected {low} to {high}")
        if self.channel_order not in ("RGB", "BGR"):
            raise ValueError(f"channel_order {self.channel_order!r}, expected RGB or BGR")


def _numbers(values: object) -> list[float]:
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"{values!r}, expected 3 numbers")
    return [float(value) for value in values]

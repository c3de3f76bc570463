"""The part that models with probability maps have in common."""

from dsb2018.runtime.model_spec import ModelSpec
from dsb2018.runtime.postprocess import Maps, output_size, postprocess
from dsb2018.structures.nuclei import Prediction


class MapsModel:
    """A model whose maps become nuclei. Subclasses set `spec` and implement `predict_maps`."""

    has_maps = True
    spec: ModelSpec

    def __call__(self, batched_inputs: list[dict]) -> list[Prediction]:
        """Returns the nuclei of each image, see `predict_maps`."""
        return [
            postprocess(maps, self.spec.instances, output_size(sample))
            for sample, maps in zip(batched_inputs, self.predict_maps(batched_inputs), strict=True)
        ]

    def predict_maps(self, batched_inputs: list[dict]) -> list[Maps]:
        """Returns the maps of each image, at the size of its `image`."""
        raise NotImplementedError

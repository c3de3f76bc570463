import pytest
import torch
from torch import nn

from dsb2018.checkpoint import NucleiCheckpointer
from dsb2018.engine import Trainer
from dsb2018.errors import UsageError
from dsb2018.modeling import TrainedModel, load_model
from dsb2018.modeling.trained import evaluation_mode
from tests.configs import FAMILIES, small_cfg
from tests.evaluation.cases import to_instances, to_output


@pytest.mark.parametrize("family", FAMILIES)
def test_loaded_model_predicts_what_the_model_returns(family, tmp_path):
    torch.manual_seed(0)
    cfg = small_cfg("TEST.SCORE_THRESH", 0.0, "INPUT.DIAMETER", 0.0, family=family)
    model = Trainer.build_model(cfg).eval()
    NucleiCheckpointer(model, str(tmp_path)).save("model")
    cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    loaded = load_model(cfg)
    inputs = [{"image": torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)}]
    (prediction,) = loaded(inputs)
    with torch.no_grad():
        (output,) = model(inputs)
    background, nucleus = output["sem_seg"]
    agreement = (torch.from_numpy(prediction.foreground) == (nucleus > background)).float().mean()
    assert agreement > 0.99
    assert len(prediction.detections) == pytest.approx(len(output["instances"]), abs=2)
    assert loaded.parameter_count == sum(parameter.numel() for parameter in model.parameters())


class StockModel(nn.Module):
    """A meta-architecture that returns `instances` only, as Detectron2's do."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batched_inputs):
        assert not self.training
        masks = torch.zeros(2, 8, 8, dtype=torch.bool)
        masks[0, :4], masks[1, 6:] = True, True
        output = to_output(to_instances(masks.numpy(), scores=[0.9, 0.4]))
        del output["sem_seg"]
        return [output]


def test_model_with_detectron2s_output():
    cfg, model = small_cfg("TEST.SCORE_THRESH", 0.5), StockModel().train()
    trained = TrainedModel(cfg, model)
    (prediction,) = trained([{"image": torch.zeros(3, 8, 8, dtype=torch.uint8)}])
    assert model.training  # as before
    assert len(prediction.detections) == 2
    assert len(prediction.nuclei) == 1
    assert prediction.foreground.sum() == 32
    with pytest.raises(UsageError, match="StockModel has no probability maps"):
        trained.predict_maps([{}])


def test_evaluation_mode_ends_after_an_error():
    model = StockModel().train()
    with pytest.raises(KeyError), evaluation_mode(model):
        raise KeyError
    assert model.training

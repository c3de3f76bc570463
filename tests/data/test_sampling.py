import itertools

import pytest
import torch

from dsb2018.data.sampling import modality_repeat_factors, repeat_factors
from dsb2018.data.seeded import draw_indices
from dsb2018.errors import UsageError

# 16 images of one modality, 4 of another, and 1 without modality.
DICTS = [{"modality": "a"}] * 16 + [{"modality": "b"}] * 4 + [{}]


@pytest.mark.parametrize(("power", "expected"), [(1, (1, 1, 1)), (0.5, (1, 2, 4)), (0, (1, 4, 16))])
def test_rare_modalities_are_drawn_more_often(power, expected):
    factors = modality_repeat_factors(DICTS, power)
    torch.testing.assert_close(factors[[0, 16, 20]], torch.tensor(expected, dtype=torch.float32))
    assert len(set(factors[:16].tolist())) == 1


def test_power_0_draws_every_modality_equally_often():
    indices = draw_indices(modality_repeat_factors(DICTS, 0), seed=0)
    first_round = list(itertools.islice(indices, 48))
    assert sum(index < 16 for index in first_round) == 16
    assert sum(16 <= index < 20 for index in first_round) == 16
    assert first_round.count(20) == 16


@pytest.mark.parametrize("power", [-0.1, 1.1])
def test_power_out_of_range_raises(power):
    with pytest.raises(ValueError, match="MODALITY_POWER"):
        modality_repeat_factors(DICTS, power)


def test_weights_of_datasets():
    """Dataset b has 3 images, dataset c has 6; b is drawn twice as often as c."""
    datasets = [[{"modality": "x"}] * 3, [{"modality": "x"}] * 6]
    factors = repeat_factors(datasets, [2.0, 1.0], 1.0)
    torch.testing.assert_close(factors, torch.tensor([4.0] * 3 + [1.0] * 6))
    draws = list(itertools.islice(draw_indices(factors, seed=0), 18))
    assert sum(index < 3 for index in draws) == 12
    torch.testing.assert_close(repeat_factors(datasets, [], 1.0), torch.ones(9))


def test_weights_and_modalities_together():
    """The weights share the draws between datasets, the modalities share those of a dataset."""
    datasets = [[{"modality": "x"}] * 4, [{"modality": "x"}] * 3 + [{"modality": "y"}]]
    factors = repeat_factors(datasets, [1.0, 3.0], 0.0)
    torch.testing.assert_close(factors.sum() / factors[:4].sum(), torch.tensor(4.0))
    torch.testing.assert_close(factors[4:7].sum(), factors[7])


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_wrong_weights_raise(weights):
    with pytest.raises(UsageError, match="DATASET_WEIGHTS .*, expected one positive number for"):
        repeat_factors([[{}], [{}]], weights, 1.0)

import itertools

import pytest
import torch

from dsb2018.data.sampling import modality_repeat_factors
from dsb2018.data.seeded import draw_indices

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

import numpy as np
import pytest

from dsb2018.evaluation import matching
from dsb2018.evaluation.metrics import (
    METRICS,
    Metric,
    Show,
    compute_scores,
    is_lower_better,
    register_metric,
    shown,
)


def test_registered_metric_is_computed_and_shown(monkeypatch):
    monkeypatch.setattr("dsb2018.evaluation.metrics.METRICS", dict(METRICS))
    register_metric(Metric("nuclei/count", "count", lambda images: len(images), Show.LOG))
    counts = matching.compare(np.zeros((1, 2, 2), np.uint8), np.zeros((2, 2), np.int32))
    assert compute_scores("nuclei", [counts, counts])["count"] == 2
    assert "count" not in compute_scores("sem_seg", [])
    assert list(shown(Show.LOG))[-1] == "nuclei/count"
    assert "nuclei/count" not in shown(Show.TABLE)
    with pytest.raises(ValueError, match="metric nuclei/count is already registered"):
        register_metric(Metric("nuclei/count", "count"))


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        ("nuclei/mAP", False),
        ("nuclei/count_error", True),
        ("nuclei/count_error/histology", True),
        ("dsb2018_val/nuclei/count_error", True),
        ("validation/total_loss", True),
        ("nuclei/AP50", False),
    ],
)
def test_direction(name, lower):
    assert is_lower_better(name) == lower

from dsb2018.engine.summary import list_outputs, summarize_scores


def test_summary_has_one_line_per_task():
    results = {
        "bbox": {"AP": 50.04, "AP50": 80.0, "AP75": float("nan"), "APs": 1.0},
        "nuclei": {"mAP": 40.25, "mAP/histology": 1.0},
    }
    assert summarize_scores(results).splitlines() == [
        "  boxes   AP 50.0   AP50 80.0   AP75 nan",
        "  nuclei  mAP 40.2",
    ]
    assert summarize_scores({}) == ""


def test_only_existing_files_are_listed(tmp_path):
    (tmp_path / "model_final.pth").touch()
    (tmp_path / "inference" / "a").mkdir(parents=True)
    (tmp_path / "inference" / "a" / "results.json").touch()
    assert list_outputs(tmp_path, ("a", "b")).splitlines() == [
        f"  model    {tmp_path}/model_final.pth",
        f"  results  {tmp_path}/inference/a/results.json",
    ]

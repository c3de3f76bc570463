"""Tests with the real wandb client in offline mode, whose files are read back."""

import json
import struct
import sys
import time

import numpy as np
import pytest
from detectron2.utils.events import EventStorage

from dsb2018.data import unregister_dsb2018
from dsb2018.engine import run, tracking
from dsb2018.engine.tracking import WandbWriter, modality_rows, with_edges
from tests.configs import small_cfg
from tests.engine.test_training import arguments, metrics

wandb = pytest.importorskip("wandb")

OPTIONS = ["WANDB.ENABLED", "True", "WANDB.PROJECT", "nuclei", "WANDB.NAME", "first"]
OPTIONS += ["WANDB.TAGS", "['unet','cpu']", "WANDB.GROUP", "tests", "WANDB.IMAGES", "2"]
OPTIONS += ["WANDB.SAVE_BEST", "True", "TEST.EVAL_PERIOD", "2", "TEST.OVERLAYS", "0"]


@pytest.fixture(autouse=True)
def _quiet_and_offline(monkeypatch):
    """Removes account and settings of the user, so that wandb stays offline."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_RUN_ID", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("NETRC", "/nonexistent")
    unregister_dsb2018()
    yield
    unregister_dsb2018()


def read_back(folder):
    """Returns the records of a run after wandb's background process has written the last one."""
    for _ in range(200):
        records = read_records(folder)
        if records and records[-1].WhichOneof("record_type") == "exit":
            return records
        time.sleep(0.1)
    raise TimeoutError(folder)


def read_records(folder):
    """Returns the records that the file of a run contains so far.

    The file has the format of LevelDB logs: a header of 7 bytes, then blocks of 32 KiB with
    chunks. A chunk has a checksum, its length, and its type: a whole record (1), or the first, a
    middle or the last part of a record (2, 3, 4).
    """
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("run-*.wandb")
    data, offset, parts, records = path.read_bytes(), 7, b"", []
    while offset + 7 <= len(data):
        if (rest_of_block := 32768 - offset % 32768) < 7:
            offset += rest_of_block
        _, length, kind = struct.unpack_from("<IHB", data, offset)
        if offset + 7 + length > len(data):  # the chunk is still being written
            break
        parts += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            records.append(record)
            parts = b""
    return records


def history_of(records):
    """Returns {step: {name: value}}. Values with nested keys are nested dicts."""
    rows = {}
    for record in records:
        if record.WhichOneof("record_type") == "history":
            row = rows.setdefault(record.history.step.num, {})
            for item in record.history.item:
                *path, name = item.nested_key or [item.key]
                values = row
                for part in path:
                    values = values.setdefault(part, {})
                values[name] = json.loads(item.value_json)
    return rows


def test_resumed_training_continues_wandb_run(sample_root, tmp_path):
    results = run(arguments(sample_root, tmp_path, *OPTIONS, family="unet/unet"))
    log = (tmp_path / "log.txt").read_text()
    assert "no account on this machine; the run is kept offline" in log
    (first,) = (tmp_path / "wandb").glob("offline-run-*")
    records = read_back(first)
    settings = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    run_id = (tmp_path / "wandb_run_id.txt").read_text()
    assert (settings.run_id, settings.project, settings.display_name) == (run_id, "nuclei", "first")
    assert (list(settings.tags), settings.run_group) == (["unet", "cpu"], "tests")
    config = {item.key: json.loads(item.value_json) for item in settings.config.update}
    assert config["SOLVER"]["MAX_ITER"] == 4
    assert "PyTorch" in config["environment"]
    assert config["git_revision"] == tracking.git_revision()

    history = history_of(records)
    for row in metrics(tmp_path):  # metrics.json has the same values
        for name, value in row.items():
            if name != "iteration" and np.isfinite(value):
                assert history[row["iteration"]][name] == pytest.approx(value)
    last = history[4]
    assert last["nuclei/mAP"] == results["nuclei"]["mAP"]
    for name, rows in (("images", 8), ("modalities", None)):
        path = first / "files" / last[f"dsb2018_sample_val/{name}"]["path"]
        table = json.loads(path.read_text())
        assert rows in (None, len(table["data"]))
        assert table["data"]
    pictures = [last[name] for name in last if name.startswith("dsb2018_sample_val/nuclei/")]
    assert len(pictures) == 2
    for picture in pictures:
        assert (first / "files" / picture["path"]).exists()
        assert set(picture["masks"]) == {"prediction", "ground_truth"}
        for mask in picture["masks"].values():
            assert (first / "files" / mask["path"]).exists()
    artifacts = [
        record.artifact for record in records if record.WhichOneof("record_type") == "artifact"
    ]
    assert [item.name for item in artifacts if item.type == "model"] == [f"model-{run_id}"]

    options = [*OPTIONS, "--resume", "SOLVER.MAX_ITER", "6"]
    run(arguments(sample_root, tmp_path, *options, family="unet/unet"))
    assert (tmp_path / "wandb_run_id.txt").read_text() == run_id
    runs = set((tmp_path / "wandb").glob("offline-run-*"))
    assert all(folder.name.endswith(run_id) for folder in runs)
    resumed = history_of([record for folder in runs - {first} for record in read_back(folder)])
    assert max(resumed) == 6


def write_one_scalar(tmp_path, *options):
    cfg = small_cfg("WANDB.ENABLED", True, "OUTPUT_DIR", str(tmp_path), *options)
    writer = WandbWriter(cfg, lambda: False)
    with EventStorage() as storage:
        storage.put_scalar("total_loss", 1.0)
        writer.write()
        writer.write()
        writer.close()


def test_wandb_not_installed(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "wandb", None)
    write_one_scalar(tmp_path)
    assert caplog.text.count("Weights & Biases is disabled for the rest of this run") == 1


def test_incompatible_version_of_wandb(tmp_path, monkeypatch, caplog):
    monkeypatch.delattr(wandb, "Settings")
    write_one_scalar(tmp_path)
    assert "disabled for the rest of this run" in caplog.text


def test_service_not_reachable(tmp_path, monkeypatch, caplog):
    calls = []

    def init(mode, **options):
        calls.append(mode)
        if mode == "online":
            raise wandb.errors.CommError("no network")
        raise OSError("disk is full")

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(tracking, "_has_account", lambda wandb: True)
    write_one_scalar(tmp_path)
    assert calls == ["online", "offline"]
    assert "cannot be reached, so the run is kept offline: no network" in caplog.text
    assert "disk is full" in caplog.text


def test_disabled(tmp_path):
    write_one_scalar(tmp_path, "WANDB.MODE", "disabled")
    assert not list(tmp_path.glob("wandb/*run-*"))


def test_scores_by_modality():
    scalars = {"nuclei/mAP": 1, "nuclei/mAP/histology": 2, "sem_seg/IoU/fluorescence": 3, "lr": 4}
    assert modality_rows(scalars) == [["histology", "mAP", 2], ["fluorescence", "IoU", 3]]
    with_prefix = {f"dsb2018_val/{name}": value for name, value in scalars.items()}
    assert modality_rows(with_prefix, "dsb2018_val/") == modality_rows(scalars)
    assert modality_rows(with_prefix, "dsb2018_test/") == []


def test_edges_separate_touching_nuclei():
    labels = np.zeros((6, 9), np.int32)
    labels[1:6, 0:5], labels[1:6, 5:9] = 300, 7
    classes = with_edges(labels)
    np.testing.assert_array_equal(classes > 0, labels > 0)
    assert classes[3, 2] == classes[3, 7] == 1
    assert classes[3, 4] == classes[3, 5] == classes[1, 2] == 2
    assert classes.dtype == np.uint8

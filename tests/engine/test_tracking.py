"""The real wandb client, offline, and its files read back."""

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
    """No account, no network; and not the settings of the person who runs the tests."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_RUN_ID", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("NETRC", "/nonexistent")
    unregister_dsb2018()
    yield
    unregister_dsb2018()


def read_back(folder):
    """The records in the one file of a run, when wandb's own process has written the last one."""
    for _ in range(200):
        records = read_records(folder)
        if records and records[-1].WhichOneof("record_type") == "exit":
            return records
        time.sleep(0.1)
    raise TimeoutError(folder)


def read_records(folder):
    """The records that are in the one file of a run.

    It is a log as LevelDB has it: after 7 bytes, blocks of 32 KiB, in which each piece has a
    checksum, its length, and whether it is a whole record (1), the first, a middle or the last part
    of one (2, 3, 4).
    """
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("run-*.wandb")
    data, place, parts, records = path.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
        _, length, kind = struct.unpack_from("<IHB", data, place)
        if place + 7 + length > len(data):  # is being written
            break
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            records.append(record)
            parts = b""
    return records


def history_of(records):
    """{step: {name: value}}; what has parts is a dict of them."""
    rows = {}
    for record in records:
        if record.WhichOneof("record_type") == "history":
            row = rows.setdefault(record.history.step.num, {})
            for item in record.history.item:
                *path, name = item.nested_key or [item.key]
                place = row
                for part in path:
                    place = place.setdefault(part, {})
                place[name] = json.loads(item.value_json)
    return rows


def test_a_run_is_tracked_and_a_resumed_one_continues_it(sample_root, tmp_path):
    results = run(arguments(sample_root, tmp_path, *OPTIONS, family="unet/unet"))
    log = (tmp_path / "log.txt").read_text()
    assert "no account on this machine; the run is kept offline" in log
    (first,) = (tmp_path / "wandb").glob("offline-run-*")
    records = read_back(first)
    started = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    run_id = (tmp_path / "wandb_run_id.txt").read_text()
    assert (started.run_id, started.project, started.display_name) == (run_id, "nuclei", "first")
    assert (list(started.tags), started.run_group) == (["unet", "cpu"], "tests")
    config = {item.key: json.loads(item.value_json) for item in started.config.update}
    assert config["SOLVER"]["MAX_ITER"] == 4
    assert "PyTorch" in config["environment"]
    assert config["git_revision"] == tracking.git_revision()

    history = history_of(records)
    for row in metrics(tmp_path):  # metrics.json has the same
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
        assert set(picture["masks"]) == {"prediction", "truth"}
        for mask in picture["masks"].values():
            assert (first / "files" / mask["path"]).exists()
    uploads = [each.artifact for each in records if each.WhichOneof("record_type") == "artifact"]
    assert [each.name for each in uploads if each.type == "model"] == [f"model-{run_id}"]

    options = [*OPTIONS, "--resume", "SOLVER.MAX_ITER", "6"]
    run(arguments(sample_root, tmp_path, *options, family="unet/unet"))
    assert (tmp_path / "wandb_run_id.txt").read_text() == run_id
    runs = set((tmp_path / "wandb").glob("offline-run-*"))
    assert all(folder.name.endswith(run_id) for folder in runs)
    again = history_of([record for folder in runs - {first} for record in read_back(folder)])
    assert max(again) == 6


def start_writer(tmp_path, *options):
    cfg = small_cfg("WANDB.ENABLED", True, "OUTPUT_DIR", str(tmp_path), *options)
    writer = WandbWriter(cfg, lambda: False)
    with EventStorage() as storage:
        storage.put_scalar("total_loss", 1.0)
        writer.write()
        writer.write()
        writer.close()


def test_without_wandb_training_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "wandb", None)
    start_writer(tmp_path)
    assert caplog.text.count("Weights & Biases is off from here on") == 1


def test_an_old_wandb_does_not_stop_a_training(tmp_path, monkeypatch, caplog):
    monkeypatch.delattr(wandb, "Settings")
    start_writer(tmp_path)
    assert "off from here on" in caplog.text


def test_a_service_that_cannot_be_reached(tmp_path, monkeypatch, caplog):
    calls = []

    def init(mode, **options):
        calls.append(mode)
        if mode == "online":
            raise wandb.errors.CommError("no network")
        raise OSError("disk is full")

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(tracking, "_has_account", lambda wandb: True)
    start_writer(tmp_path)
    assert calls == ["online", "offline"]
    assert "kept offline since it cannot be reached: no network" in caplog.text
    assert "disk is full" in caplog.text


def test_disabled(tmp_path):
    start_writer(tmp_path, "WANDB.MODE", "disabled")
    assert not list(tmp_path.glob("wandb/*run-*"))


def test_scores_by_modality():
    scalars = {"nuclei/mAP": 1, "nuclei/mAP/histology": 2, "sem_seg/IoU/fluorescence": 3, "lr": 4}
    assert modality_rows(scalars) == [["histology", "mAP", 2], ["fluorescence", "IoU", 3]]
    several = {f"dsb2018_val/{name}": value for name, value in scalars.items()}
    assert modality_rows(several, "dsb2018_val/") == modality_rows(scalars)
    assert modality_rows(several, "dsb2018_test/") == []


def test_edges_keep_touching_nuclei_apart():
    labels = np.zeros((6, 9), np.int32)
    labels[1:6, 0:5], labels[1:6, 5:9] = 300, 7
    classes = with_edges(labels)
    np.testing.assert_array_equal(classes > 0, labels > 0)
    assert classes[3, 2] == classes[3, 7] == 1
    assert classes[3, 4] == classes[3, 5] == classes[1, 2] == 2
    assert classes.dtype == np.uint8

"""Tests of images in object stores and on web servers. The servers run on this machine."""

import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from dsb2018.commands.predict import main
from dsb2018.errors import UsageError
from dsb2018.images import remote
from dsb2018.images.ome_zarr import find_in_zarr
from dsb2018.images.remote import is_remote, is_url, open_url, remote_state
from tests.inference.drawing import micrograph

pytest.importorskip("upath", reason="needs the extra [cloud]")


class Quiet(SimpleHTTPRequestHandler):
    """A web server without a log and without lists of folders, as most are."""

    def log_message(self, *_) -> None:
        pass

    def list_directory(self, path):
        self.send_error(404)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A plate with two wells, a single image, and the results of the local files."""
    folder = tmp_path_factory.mktemp("store")
    plate = zarr.open_group(folder / "plate.zarr", mode="w", zarr_format=2)
    for number, well in enumerate(("A/1", "B/2")):
        write_image(plate.create_group(f"{well}/0"), number)
        plate[well].attrs["well"] = {"images": [{"path": "0"}]}
    plate.attrs["plate"] = {"wells": [{"path": "A/1"}, {"path": "B/2"}]}
    write_image(zarr.open_group(folder / "image.ome.zarr", mode="w", zarr_format=3), 3)
    assert predict(folder / "local", folder / "plate.zarr", folder / "image.ome.zarr") == 0
    return folder


def write_image(group: zarr.Group, seed: int) -> None:
    pixels = np.stack([micrograph((96, 128), seed + 10)[0], micrograph((96, 128), seed)[0]])
    group.create_array("0", data=pixels, chunks=(1, 64, 64))
    axes = [{"name": "c"}, *({"name": n, "unit": "micrometer"} for n in "yx")]
    scale = [{"type": "scale", "scale": [1, 0.5, 0.5]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    content = {
        "multiscales": [{"axes": axes, "datasets": datasets}],
        "omero": {"channels": [{"label": "actin"}, {"label": "DAPI"}]},
    }
    group.attrs.update(content if group.metadata.zarr_format == 2 else {"ome": content})


def predict(output: Path, *inputs: object) -> int:
    options = ["--channel", "DAPI", "--diameter", "20", "--format", "labels"]
    return main(["--input", *map(str, inputs), "--output", str(output), *options])


@pytest.fixture(scope="module")
def web(folder):
    handler = partial(Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="module")
def bucket(folder):
    """A bucket of a server that speaks the protocol of S3."""
    moto = pytest.importorskip("moto.server", reason="needs moto")
    s3fs = pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    address = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": address,
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        store = s3fs.S3FileSystem(skip_instance_cache=True)
        store.mkdir("screen")
        for name in ("plate.zarr", "image.ome.zarr"):
            store.put(str(folder / name), f"screen/{name}", recursive=True)
        yield "s3://screen"
    server.stop()


@pytest.mark.parametrize("place", ["web", "bucket"])
def test_remote_images_give_the_results_of_local_ones(folder, place, tmp_path, request):
    url = request.getfixturevalue(place)
    assert predict(tmp_path, f"{url}/plate.zarr", f"{url}/image.ome.zarr/") == 0
    for name in ("plate_A_1_0", "plate_B_2_0", "image"):
        local, other = (
            tifffile.imread(output / "labels" / f"{name}.tif")
            for output in (folder / "local", tmp_path)
        )
        assert local.max() > 3
        assert np.array_equal(local, other)
    tables = [pd.read_csv(output / "nuclei.csv") for output in (folder / "local", tmp_path)]
    pd.testing.assert_frame_equal(*tables)
    files = pd.read_csv(tmp_path / "images.csv")["file"]
    assert files.tolist()[0] == f"{url}/plate.zarr/A/1/0"


def test_finished_remote_images_are_not_repeated(folder, web, tmp_path, monkeypatch):
    assert predict(tmp_path / "out", f"{web}/image.ome.zarr") == 0
    record = tmp_path / "out" / ".done" / "image" / "record.json"
    first = record.stat().st_mtime_ns
    assert predict(tmp_path / "out", f"{web}/image.ome.zarr") == 0
    assert record.stat().st_mtime_ns == first
    state = remote_state(open_url(f"{web}/image.ome.zarr"))
    monkeypatch.setattr(remote, "METADATA", ("zarr.json",))
    assert remote_state(open_url(f"{web}/image.ome.zarr")) != state


def test_missing_remote_images_are_named(web, tmp_path, capsys):
    assert predict(tmp_path, f"{web}/nothing.zarr") == 1
    assert f"{web}/nothing.zarr" in capsys.readouterr().err


def test_a_lost_chunk_is_reported(folder, web, tmp_path, capsys):
    """A missing chunk would be background by the rules of Zarr, but a broken one is an error."""
    shutil.copytree(folder / "image.ome.zarr", folder / "broken.ome.zarr")
    chunks = (folder / "broken.ome.zarr" / "0" / "c").rglob("0")
    next(path for path in chunks if path.is_file()).write_bytes(b"noise")
    assert predict(tmp_path, f"{web}/broken.ome.zarr") == 1
    assert "broken.ome.zarr: damaged" in capsys.readouterr().err


def test_urls(tmp_path):
    assert is_url("s3://bucket/a.zarr")
    assert is_url("HTTPS://example.org/a.zarr")
    assert not any(map(is_url, ("a.zarr", "C:\\images\\a.tif", "/a/b", "C:/a")))
    assert is_remote(open_url("s3://bucket/a.zarr"))
    assert not is_remote(tmp_path)
    assert find_in_zarr(open_url("http://127.0.0.1:9/a.zarr")) == [
        open_url("http://127.0.0.1:9/a.zarr")
    ]


def test_other_files_are_not_read_from_urls():
    with pytest.raises(UsageError, match=r"expected the URL of an OME-Zarr store"):
        open_url("https://example.org/image.tif")


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr(remote, "find_spec", lambda name: None if name == "gcsfs" else name)
    with pytest.raises(ImportError, match=r"dsb2018\[cloud\]"):
        open_url("gs://bucket/a.zarr")

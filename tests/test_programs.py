"""The scripts for other programs. They need ImageJ and Groovy, as Debian packages them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import tifffile

from tests.inference.drawing import micrograph

SCRIPTS = Path(__file__).parents[1] / "docs" / "scripts"
IMAGEJ = Path("/usr/share/java/ij.jar")
needs_imagej = pytest.mark.skipif(
    not (IMAGEJ.exists() and shutil.which("java") and shutil.which("xvfb-run")),
    reason="no ImageJ",
)
needs_groovy = pytest.mark.skipif(not shutil.which("groovy"), reason="no Groovy")


def adapted(script, folder):
    """Returns a copy of a script that calls the command of this installation."""
    text = (SCRIPTS / script).read_text()
    command = Path(sys.executable).with_name("dsb2018")
    assert text.count('"dsb2018";') + text.count('command = "dsb2018"') >= 1
    copy = folder / script
    copy.write_text(text.replace('command = "dsb2018"', f'command = "{command}"'))
    return copy


def environment(folder):
    java = Path(shutil.which("java") or "").resolve().parents[1]
    home = {"HOME": str(folder), "TMPDIR": str(folder), "JAVA_HOME": str(java)}
    return {"PATH": "/usr/bin:/bin", **home}


def run(command, folder):
    command, options = list(map(str, command)), {"env": environment(folder), "timeout": 120}
    result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    return result.stdout + result.stderr


def wait_for_text(path, end, seconds=120):
    limit = time.monotonic() + seconds
    while not (path.exists() and end in path.read_text()):
        assert time.monotonic() < limit
        time.sleep(0.2)
    return path.read_text()


@needs_imagej
@pytest.mark.parametrize("kind", ["plane", "channels"])
def test_macro_for_imagej(tmp_path, kind):
    pixels = micrograph((200, 220))[0]
    if kind == "channels":  # the second channel is shown
        pixels = np.stack([np.zeros_like(pixels), pixels])
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True)
    macro = adapted("segment_nuclei.ijm", tmp_path)
    (tmp_path / "run.ijm").write_text(f"""
        open("{tmp_path}/a.tif");
        if (nSlices > 1) setSlice(2);
        runMacro("{macro}");
        file = File.open("{tmp_path}/count.txt");
        print(file, roiManager("count") + " " + getTitle() + " end");
        File.close(file);
    """)
    options = [f"-Djava.io.tmpdir={tmp_path}", "-jar", IMAGEJ, "-macro", tmp_path / "run.ijm"]
    command = ["xvfb-run", "-a", "java", *options]
    process = subprocess.Popen(
        list(map(str, command)), env=environment(tmp_path), start_new_session=True
    )
    try:  # a message of the macro would wait for a click
        text = wait_for_text(tmp_path / "count.txt", "end")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
    count, title, _ = text.split()
    (table,) = tmp_path.glob("dsb2018-*/results/nuclei.parquet")
    assert int(count) == pyarrow.parquet.read_table(table).num_rows > 5
    assert title == "a.tif"  # the open image stays as it was


STAND_INS = """
def getCurrentServer() { new Server() }
def importObjectsFromFile(String path) { println "imported " + path }
def getDetectionObjects() { [1, 2] }
class Server {
    def getURIs() { [new File(System.getenv("IMAGE")).toURI()] as Set }
    def getPixelCalibration() { new Calibration() }
}
class Calibration {
    def hasPixelSizeMicrons() { true }
    def getAveragedPixelSizeMicrons() { 0.5d }
}
"""


@needs_groovy
def test_script_for_qupath(tmp_path):
    """With stand-ins for the functions of QuPath, which is not at hand."""
    tifffile.imwrite(tmp_path / "a.tif", micrograph((200, 220))[0])
    script = adapted("segment_nuclei.groovy", tmp_path)
    whole = tmp_path / "whole.groovy"
    whole.write_text(script.read_text() + STAND_INS)
    output = run(["env", f"IMAGE={tmp_path / 'a.tif'}", "groovy", whole], tmp_path)
    assert "2 nuclei; measurements:" in output
    file = Path(output.split("imported ")[1].split("\n")[0])
    assert file.suffix == ".geojson"
    assert '"area_um2"' in file.read_text()


EDITING_STAND_INS = """
def getDetectionObjects() { [[getROI: { "a" }], [getROI: { "b" }]] }
def clearDetections() { println "cleared" }
def addObjects(objects) { println "added " + objects }
class PathObjects {
    static createAnnotationObject(roi) { "annotation of " + roi }
}
"""


@needs_groovy
def test_detections_become_annotations(tmp_path):
    script = tmp_path / "whole.groovy"
    script.write_text((SCRIPTS / "make_editable.groovy").read_text() + EDITING_STAND_INS)
    lines = run(["groovy", script], tmp_path).splitlines()
    assert lines == ["cleared", "added [annotation of a, annotation of b]", "2 annotations"]


@needs_groovy
def test_failure_in_qupath(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"damaged")
    script = adapted("segment_nuclei.groovy", tmp_path)
    whole = tmp_path / "whole.groovy"
    whole.write_text(script.read_text() + STAND_INS)
    output = run(["env", f"IMAGE={tmp_path / 'a.tif'}", "groovy", whole], tmp_path)
    assert "dsb2018 failed, or the file has several images" in output
    assert "not a readable image" in output

"""The real napari, on a screen that nobody sees."""

import gc
import os
import shutil
import subprocess
import time

import numpy as np
import pytest


@pytest.fixture(scope="session")
def screen():
    """Starts an X server without a screen, unless there is a display."""
    pytest.importorskip("napari")
    if os.environ.get("DISPLAY"):
        yield
        return
    if not shutil.which("Xvfb"):
        pytest.skip("no Xvfb")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1600x1000x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as file:
        number = file.readline().strip()
    if not number:
        pytest.skip("Xvfb does not start")
    os.environ["DISPLAY"] = f":{number}"
    yield
    del os.environ["DISPLAY"]
    server.terminate()
    server.wait()


@pytest.fixture
def viewer(screen):
    """A viewer in a window."""
    import napari
    from qtpy.QtWidgets import QApplication

    gc.freeze()  # what lives now is not looked at again
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1400, 900)
    yield viewer
    viewer.close()
    QApplication.processEvents()
    gc.collect()  # in this thread, which objects of Qt belong to; not later in one of a network


@pytest.fixture
def wait():
    """Handles events until a condition holds."""
    from qtpy.QtWidgets import QApplication

    def wait_until(condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "the condition does not hold in time"
            QApplication.processEvents()
            time.sleep(0.01)

    return wait_until


@pytest.fixture
def widget(viewer, wait):
    """The widget, docked as by the menu of napari."""
    _, widget = viewer.window.add_plugin_dock_widget("dsb2018", "Segment nuclei")
    widget.image_panel.model.setCurrentText("nuclei_fast")
    yield widget
    widget.close()
    wait(lambda: widget._worker is None and not widget._fine_tuning.is_running)


@pytest.fixture
def rng():
    return np.random.default_rng(0)

import io
import subprocess
import sys
import tarfile

import install_detectron2 as installer
import pytest

SETUP = """
from setuptools import setup
setup(
    name="detectron2",
    install_requires=[
        "black==21.4b2",
    ],
    ext_modules=get_extensions(),
)
"""


def make_release(path, setup=SETUP):
    """Writes a source archive in the format of the release."""
    files = {"setup.py": setup, "detectron2/__init__.py": "", "detectron2/model_zoo/configs/a": ""}
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"pb1-detectron2-0.6/{name}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.fixture(autouse=True)
def _no_repairs(monkeypatch):
    """Switches the repairs off, because the archives of these tests need none."""
    monkeypatch.setattr(installer, "repair", lambda package: None)


@pytest.fixture
def without_detectron2(monkeypatch):
    """Simulates a Python in which everything but Detectron2 can be imported."""
    failures = {"detectron2.modeling": "No module named 'detectron2'"}
    monkeypatch.setattr(installer, "import_failure", failures.get)


def test_installed_detectron2_is_kept(capsys):
    assert installer.main([]) == 0
    assert "already installed" in capsys.readouterr().out


def test_script_runs_in_new_process(project):
    command = [sys.executable, str(project / "tools/install_detectron2.py")]
    assert "already installed" in subprocess.run(command, capture_output=True, text=True).stdout


def test_unpack_for_pure_python(tmp_path):
    archive = make_release(tmp_path / "pb1-detectron2-0.6.tar.gz")
    root = installer.unpack_for_pure_python(archive, tmp_path)
    text = (root / "setup.py").read_text()
    assert "ext_modules=[]" in text
    assert "black" not in text
    assert (root / "configs" / "a").exists()
    assert not (root / "detectron2" / "model_zoo" / "configs").exists()


def test_unexpected_setup_py(tmp_path):
    archive = make_release(tmp_path / "pb1-detectron2-0.6.tar.gz", setup="setup()")
    with pytest.raises(installer.InstallError, match="not the setup.py of release 0.6"):
        installer.unpack_for_pure_python(archive, tmp_path)


def test_wrong_sha256_installs_nothing(tmp_path, without_detectron2, monkeypatch, capsys):
    archive = make_release(tmp_path / "pb1-detectron2-0.6.tar.gz")

    def download(folder):
        installer.check_sha256(archive, installer.RELEASE_SHA256)
        return archive

    monkeypatch.setattr(installer, "download_release", download)
    monkeypatch.setattr(installer, "pip_install", lambda *a, **k: pytest.fail("installed"))
    assert installer.main([]) == 1
    message = capsys.readouterr().err
    assert "expected 5d2e9e51e523ec72" in message
    assert "--source git" in message


def test_failed_download(without_detectron2, monkeypatch, capsys):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    assert installer.main([]) == 1
    assert "Check the network" in capsys.readouterr().err


def test_import_failure():
    assert installer.import_failure("json") is None
    assert "No module named 'no_such_module'" in installer.import_failure("no_such_module")


def test_without_torch(monkeypatch, capsys):
    monkeypatch.setattr(installer, "import_failure", lambda name: f"No module named {name!r}")
    assert installer.main([]) == 1
    message = capsys.readouterr().err
    assert "torch cannot be imported" in message
    assert "pip install torch torchvision" in message


def test_installed_but_not_importable(without_detectron2, monkeypatch, capsys):
    monkeypatch.setitem(installer.SOURCES, "pypi", lambda: None)
    assert installer.main([]) == 1
    assert "pip install -e ." in capsys.readouterr().err


def test_source_git_installs_fixed_commit(without_detectron2, monkeypatch, capsys):
    installed = []
    monkeypatch.setattr(installer, "pip_install", lambda what, advice: installed.append(what))
    installer.main(["--source", "git"])
    assert installed == [f"git+{installer.REPOSITORY}@{installer.COMMIT}"]
    monkeypatch.setattr(installer.shutil, "which", lambda name: None)
    assert installer.main(["--source", "git"]) == 1
    assert "git is not installed" in capsys.readouterr().err


def test_failed_command_shows_output_and_advice(tmp_path):
    with pytest.raises(installer.InstallError, match=r"(?s)boom.*try something else"):
        installer.run_python("-c", "raise SystemExit('boom')", advice="try something else")


def test_old_package_is_uninstalled_before_install(monkeypatch):
    """The release and the main branch have different package names, so pip keeps the old one."""
    calls = []
    monkeypatch.setattr(installer, "run_python", lambda *a, advice, **k: calls.append(a[2]))
    installer.pip_install("somewhere", advice="")
    assert calls == ["install", "wheel", "uninstall", "install"]


def test_repair_of_another_release_fails(tmp_path, monkeypatch):
    def repair(package):
        raise ValueError("**/*.py: found 0 times, expected 1")

    monkeypatch.setattr(installer, "repair", repair)
    archive = make_release(tmp_path / "pb1-detectron2-0.6.tar.gz")
    with pytest.raises(installer.InstallError, match="found 0 times.*not release 0.6"):
        installer.unpack_for_pure_python(archive, tmp_path)

"""The Dockerfile agrees with the project; a daemon that builds images is not needed."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path, PurePosixPath

import pytest
from packaging.specifiers import SpecifierSet

PROJECT = Path(__file__).resolve().parents[1]
WEIGHTS = PROJECT / "dsb2018" / "weights"


def instructions(name: str) -> list[str]:
    """Returns the arguments of all instructions of a name; continued lines are joined."""
    lines = (PROJECT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    return re.findall(rf"^{name}\s+(.+)$", text, re.MULTILINE)


def copied() -> list[str]:
    """Returns what is copied from the build context."""
    copies = [line.split() for line in instructions("COPY") if "--from=" not in line]
    return [source for *sources, _ in copies for source in sources]


def is_ignored(path: PurePosixPath) -> bool:
    """Whether `.dockerignore` keeps a path from the build context. The last match decides."""
    ignored = False
    for line in (PROJECT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        anchored = pattern[3:] if pattern.startswith("**/") else f"/{pattern}"
        if any(PurePosixPath("/", part).match(anchored) for part in (path, *path.parents)):
            ignored = not line.startswith("!")
    return ignored


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as in the Dockerfile from nothing but what that copies."""
    context, output = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("wheel")
    for source in copied():
        path = PROJECT / source
        for file in [path] if path.is_file() else filter(Path.is_file, path.rglob("*")):
            relative = file.relative_to(PROJECT)
            if not is_ignored(PurePosixPath(relative.as_posix())):
                (context / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, context / relative)
    # What pip calls; pip itself would take twice as long.
    build = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, output], cwd=context, check=True)
    (path,) = output.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def read_metadata(wheel: zipfile.ZipFile, name: str) -> bytes:
    (path,) = (path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
    return wheel.read(path)


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    return message_from_bytes(read_metadata(wheel, "METADATA"))


def test_copied_files_are_in_the_build_context():
    assert copied()
    for source in copied():
        assert (PROJECT / source).exists(), source
        assert not is_ignored(PurePosixPath(source)), source


@pytest.mark.parametrize("path", [".git", ".venv/bin/python", "tests/data", "output", "docs/a.png"])
def test_the_rest_is_not_in_the_build_context(path):
    assert is_ignored(PurePosixPath(path))


def test_wheel_is_complete(wheel):
    names = set(wheel.namelist())
    assert {f"dsb2018/weights/{path.name}" for path in WEIGHTS.iterdir()} <= names
    assert {"dsb2018/napari_plugin/napari.yaml", "dsb2018/py.typed"} <= names
    assert any(name.endswith(".html") for name in names)
    assert "Apache License" in read_metadata(wheel, "licenses/LICENSE").decode()


def test_command_exists(wheel):
    (entrypoint,) = instructions("ENTRYPOINT")
    (command,) = json.loads(entrypoint)
    assert f"\n{command} = " in read_metadata(wheel, "entry_points.txt").decode()


def test_python_is_supported(metadata):
    # Equal in all stages: the packages are installed in one and used in another.
    (version,) = {re.match(r"python:([\d.]+)-slim\b", image)[1] for image in instructions("FROM")}
    assert version in SpecifierSet(metadata["Requires-Python"])


def test_documented_extras_exist(metadata):
    text = (PROJECT / "Dockerfile").read_text() + (PROJECT / "docs" / "predict.md").read_text()
    lists = re.findall(r"EXTRAS=\[(.+?)\]", text)
    assert lists
    names = {name for names in lists for name in names.split(",")}
    assert names <= set(metadata.get_all("Provides-Extra"))


def test_user_is_not_root():
    *_, user = instructions("USER")
    assert user.partition(":")[0] not in ("root", "0")

"""Installs Detectron2 into the Python that runs this file, unless it is already importable.

    python tools/install_detectron2.py                  # release 0.6: no compiler, no git
    python tools/install_detectron2.py --source git     # upstream main: compiler and git

Both need torch and this package (`pip install -e .`, which brings what Detectron2 imports)
installed first. `--source pypi` takes release 0.6 as it was repackaged on the package index, checks
its sha256, adapts it to today's Python, NumPy, Pillow and torch (detectron2_release/repairs.py) and
builds a wheel of its Python files. The C++ operators are left out: deformable convolution comes
from torchvision, rotated boxes raise an error.
`--source git` builds upstream's main branch, pinned to one commit, with its C++ operators.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from detectron2_release.repairs import repair

MODULE = "detectron2.modeling"  # which a build that does not fit fails to import
RELEASE = "pb1-detectron2==0.6"
RELEASE_SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
REPOSITORY = "https://github.com/facebookresearch/detectron2.git"
COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"  # main of 6 June 2026
BUILD_TOOLS = ("setuptools<81", "wheel")


class InstallError(RuntimeError):
    """Says what failed and what to do next."""


def run_python(*arguments: str, advice: str, **kwargs) -> None:
    """Runs this Python with arguments.

    Raises:
        InstallError: it failed; with the end of its output, and `advice`.
    """
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs
    )
    if done.returncode:
        end = "\n".join(done.stdout.splitlines()[-15:])
        raise InstallError(f"{end}\n\n`python {' '.join(arguments)}` failed. {advice}")


def import_failure(module: str) -> str | None:
    """The last line of what a fresh process of this Python says when it cannot import the module;
    None where it can."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"], capture_output=True, text=True
    )
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["?"])[-1]


def require(module: str, advice: str) -> None:
    """Raises InstallError, with the advice, where the module cannot be imported."""
    failure = import_failure(module)
    if failure is not None:
        raise InstallError(f"{module} cannot be imported by {sys.executable} ({failure}). {advice}")


def require_torch() -> None:
    """Raises InstallError where torch and torchvision cannot be imported."""
    for module in ("torch", "torchvision"):
        require(
            module,
            "Install torch and torchvision for your machine first (`pip install torch "
            "torchvision`), then run this again.",
        )


def download_release(folder: Path) -> Path:
    """Downloads the release's source archive into the folder; returns its path, sha256 checked.

    pip cannot do it: to download a source archive it builds its metadata, and this one's fails.
    `unearth` only downloads. It is installed into the folder, not into the user's environment.
    """
    network = "Check the network, or your pip index settings, then run this again."
    tools = str(folder / "tools")
    run_python("-m", "pip", "install", "-q", "--target", tools, "unearth", advice=network)
    command = ["-m", "unearth", RELEASE, "--no-binary", "--download", str(folder), *_pip_index()]
    run_python(*command, advice=network, env={**os.environ, "PYTHONPATH": tools})
    archives = list(folder.glob("*.tar.gz"))
    if len(archives) != 1:
        raise InstallError(f"the package index has no source archive of {RELEASE}. {network}")
    check_sha256(archives[0], RELEASE_SHA256)
    return archives[0]


def _pip_index() -> list[str]:
    """The user's own package index, from pip's settings, as options of unearth."""
    for name in (":env:.index-url", "install.index-url", "global.index-url"):
        done = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", name], capture_output=True, text=True
        )
        if done.returncode == 0:
            return ["--index-url", done.stdout.strip()]
    return []


def check_sha256(archive: Path, expected: str) -> None:
    """Raises InstallError where the file's sha256 is another than expected."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != expected:
        raise InstallError(
            f"{archive.name} has sha256 {found}, expected {expected}: it is not release 0.6 as "
            "tested. Nothing was installed. Look at your package index, or use `--source git`."
        )


def unpack_for_pure_python(archive: Path, folder: Path) -> Path:
    """Unpacks the release so that a wheel of its Python files can be built; returns its root."""
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
        else:  # a Python without the security back-port; the sha256 has been checked
            tar.extractall(folder)
    root = folder / archive.name.removesuffix(".tar.gz")
    # setup.py expects the model zoo's files in the repository's place, and copies them back.
    shutil.move(root / "detectron2" / "model_zoo" / "configs", root / "configs")
    setup = root / "setup.py"
    text = setup.read_text()
    text, no_extension = re.subn(r"ext_modules=get_extensions\(\)", "ext_modules=[]", text)
    # Its requirements pin a `black` of 2021; this project's setup.py names what is needed.
    text, no_pins = re.subn(r"install_requires=\[.*?\n    \],", "", text, flags=re.DOTALL)
    if (no_extension, no_pins) != (1, 1):
        raise InstallError(f"{setup}: not the setup.py of release 0.6. Use `--source git`.")
    setup.write_text(text)
    try:
        repair(root)
    except ValueError as error:
        raise InstallError(f"{error}: not release 0.6. Use `--source git`.") from error
    return root


def install_release() -> None:
    """Builds and installs release 0.6 from the package index, Python files only."""
    with tempfile.TemporaryDirectory(prefix="detectron2-") as name:
        folder = Path(name)
        root = unpack_for_pure_python(download_release(folder), folder)
        pip_install(str(root), advice="Try `--source git`, which builds upstream main.")


def install_upstream() -> None:
    """Builds and installs upstream main at the pinned commit, with its C++ operators."""
    if shutil.which("git") is None:
        raise InstallError("git is not installed. Install it, or use `--source pypi`.")
    advice = "It needs the network, a C++ compiler and Python's headers; `--source pypi` does not."
    pip_install(f"git+{REPOSITORY}@{COMMIT}", advice=advice)


def pip_install(what: str, advice: str) -> None:
    """Builds a package with the environment's own torch and installs it without dependencies.

    What was there of Detectron2 goes, under either of its names: files of one left under the other
    would make a mixture.
    """
    run_python("-m", "pip", "install", "-q", *BUILD_TOOLS, advice="Check the network.")
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        options = ("--no-build-isolation", "--no-deps", "--wheel-dir", folder)
        run_python("-m", "pip", "wheel", *options, what, advice=advice)
        names = ("detectron2", RELEASE.partition("==")[0])
        run_python("-m", "pip", "uninstall", "-q", "-y", *names, advice="Remove it by hand.")
        wheels = [str(path) for path in Path(folder).glob("*.whl")]
        run_python("-m", "pip", "install", "-q", "--no-deps", *wheels, advice=advice)


SOURCES = {"pypi": install_release, "git": install_upstream}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", choices=sorted(SOURCES), default="pypi")
    parser.add_argument("--force", action="store_true", help="replace an installed detectron2")
    options = parser.parse_args(arguments)
    if import_failure(MODULE) is None and not options.force:
        print("detectron2 is already installed; it is kept (--force replaces it).")
        return 0
    try:
        require_torch()
        SOURCES[options.source]()
        require(MODULE, "It was installed; `pip install -e .` brings what it imports.")
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"detectron2 installed ({options.source}).")
    return 0


if __name__ == "__main__":
    sys.exit(main())

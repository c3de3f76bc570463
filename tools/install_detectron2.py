"""Installs Detectron2 into the Python that runs this script, unless it can already be imported.

    python tools/install_detectron2.py                  # release 0.6: no compiler, no git
    python tools/install_detectron2.py --source git     # main branch: needs a compiler and git

Install torch and this package first (`pip install -e .`, which installs the dependencies of
Detectron2).

`--source pypi` downloads release 0.6 from the package index, checks its SHA-256, adapts it to
current versions of Python, NumPy, Pillow and torch (detectron2_release/repairs.py) and builds a
wheel of its Python files. The C++ operators are left out: deformable convolution comes from
torchvision, and rotated boxes raise an error. `--source git` builds a fixed commit of the main
branch, with its C++ operators.
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

MODULE = "detectron2.modeling"  # its import fails if the build does not fit the environment
RELEASE = "pb1-detectron2==0.6"
RELEASE_SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
REPOSITORY = "https://github.com/facebookresearch/detectron2.git"
COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"  # main of 6 June 2026
BUILD_TOOLS = ("setuptools<81", "wheel")


class InstallError(RuntimeError):
    """Raised when the installation fails; the message says what failed and what to do."""


def run_python(*arguments: str, advice: str, **kwargs) -> None:
    """Runs this Python with the given arguments.

    Args:
        arguments: command line.
        advice: what the user can do if the command fails.
        kwargs: arguments of `subprocess.run`.

    Raises:
        InstallError: the command failed; the message has the end of its output and `advice`.
    """
    command = [sys.executable, *arguments]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs
    )
    if result.returncode:
        end = "\n".join(result.stdout.splitlines()[-15:])
        raise InstallError(f"{end}\n\n`python {' '.join(arguments)}` failed. {advice}")


def import_failure(module: str) -> str | None:
    """Imports a module in a new process of this Python.

    Returns:
        The last line of the error message, or None if the import succeeds.
    """
    result = subprocess.run(
        [sys.executable, "-c", f"import {module}"], capture_output=True, text=True
    )
    return None if result.returncode == 0 else (result.stderr.strip().splitlines() or ["?"])[-1]


def require(module: str, advice: str) -> None:
    """Raises InstallError with the advice if the module cannot be imported."""
    failure = import_failure(module)
    if failure is not None:
        raise InstallError(f"{module} cannot be imported by {sys.executable} ({failure}). {advice}")


def require_torch() -> None:
    """Raises InstallError if torch or torchvision cannot be imported."""
    for module in ("torch", "torchvision"):
        require(
            module,
            "Install torch and torchvision for your machine first (`pip install torch "
            "torchvision`), then run this again.",
        )


def download_release(folder: Path) -> Path:
    """Downloads the source archive of the release and checks its SHA-256.

    pip cannot download it: it would build the metadata of the archive, which fails. `unearth` only
    downloads. It is installed into `folder`, not into the user's environment.

    Returns:
        The path of the archive in `folder`.
    """
    network = "Check the network and the index settings of pip, then run this again."
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
    """Returns the package index in the settings of pip as options of unearth."""
    for name in (":env:.index-url", "install.index-url", "global.index-url"):
        result = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", name], capture_output=True, text=True
        )
        if result.returncode == 0:
            return ["--index-url", result.stdout.strip()]
    return []


def check_sha256(archive: Path, expected: str) -> None:
    """Raises InstallError if the SHA-256 of the file is not the expected one."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != expected:
        raise InstallError(
            f"{archive.name} has SHA-256 {digest}, expected {expected}: it is not the tested "
            "release 0.6. Nothing was installed. Check your package index, or use `--source git`."
        )


def unpack_for_pure_python(archive: Path, folder: Path) -> Path:
    """Unpacks the release and changes it so that a wheel of its Python files can be built.

    Returns:
        The folder with the sources.
    """
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
        else:  # early 3.11 releases have no filter; the SHA-256 was checked, so this is safe
            tar.extractall(folder)
    root = folder / archive.name.removesuffix(".tar.gz")
    # setup.py copies the configs of the model zoo from the place where the repository has them.
    shutil.move(root / "detectron2" / "model_zoo" / "configs", root / "configs")
    setup = root / "setup.py"
    text = setup.read_text()
    text, no_extension = re.subn(r"ext_modules=get_extensions\(\)", "ext_modules=[]", text)
    # The requirements pin a `black` of 2021; setup.py of this project lists the dependencies.
    text, no_pins = re.subn(r"install_requires=\[.*?\n    \],", "", text, flags=re.DOTALL)
    if (no_extension, no_pins) != (1, 1):
        raise InstallError(f"{setup}: not the setup.py of release 0.6. Use `--source git` instead.")
    setup.write_text(text)
    try:
        repair(root)
    except ValueError as error:
        raise InstallError(f"{error}: not release 0.6. Use `--source git` instead.") from error
    return root


def install_release() -> None:
    """Builds and installs release 0.6 from the package index, Python files only."""
    with tempfile.TemporaryDirectory(prefix="detectron2-") as name:
        folder = Path(name)
        root = unpack_for_pure_python(download_release(folder), folder)
        pip_install(str(root), advice="Try `--source git`, which builds the main branch.")


def install_upstream() -> None:
    """Builds and installs the main branch at a fixed commit, with its C++ operators."""
    if shutil.which("git") is None:
        raise InstallError("git is not installed. Install it, or use `--source pypi`.")
    advice = (
        "It needs network access, a C++ compiler and the headers of Python. `--source pypi` needs "
        "no compiler."
    )
    pip_install(f"git+{REPOSITORY}@{COMMIT}", advice=advice)


def pip_install(what: str, advice: str) -> None:
    """Builds a package with the installed torch and installs it without its dependencies.

    An installed Detectron2 is removed first. The release and the main branch have different
    package names, so pip would mix their files.

    Args:
        what: folder or URL of the sources.
        advice: what the user can do if this fails.
    """
    run_python("-m", "pip", "install", "-q", *BUILD_TOOLS, advice="Check the network.")
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        options = ("--no-build-isolation", "--no-deps", "--wheel-dir", folder)
        run_python("-m", "pip", "wheel", *options, what, advice=advice)
        names = ("detectron2", RELEASE.partition("==")[0])
        remedy = "Uninstall Detectron2 manually, then run this again."
        run_python("-m", "pip", "uninstall", "-q", "-y", *names, advice=remedy)
        wheels = [str(path) for path in Path(folder).glob("*.whl")]
        run_python("-m", "pip", "install", "-q", "--no-deps", *wheels, advice=advice)


SOURCES = {"pypi": install_release, "git": install_upstream}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source",
        choices=sorted(SOURCES),
        default="pypi",
        help="pypi: release 0.6; git: main branch (default: pypi)",
    )
    parser.add_argument("--force", action="store_true", help="replace an installed Detectron2")
    options = parser.parse_args(arguments)
    if import_failure(MODULE) is None and not options.force:
        print("detectron2 is already installed (--force replaces it).")
        return 0
    try:
        require_torch()
        SOURCES[options.source]()
        require(MODULE, "It was installed; run `pip install -e .` to install its dependencies.")
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"detectron2 installed ({options.source}).")
    return 0


if __name__ == "__main__":
    sys.exit(main())

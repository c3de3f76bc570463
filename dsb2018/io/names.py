"""Converts untrusted names to file names: from image files, JSON and the command line."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote

from dsb2018.errors import UsageError

# Path separators of any system, colons of Windows' drive letters, and control characters.
UNSAFE = re.compile(r"[/\\:\x00-\x1f\x7f-\x9f\ud800-\udfff]")
LONGEST = 160  # maximum bytes of a name; most file systems allow 255, extensions included
ADDRESSES = ("dsb2018", "imagenet", "detectron2", "https", "http")  # schemes of weights
DIGITS = 8  # number of digits of the hash that makes changed names unique


def file_name(name: str) -> str:
    """Converts any text to a safe file name, which does not lead out of its folder.

    An ordinary name is returned unchanged. In other names, unsafe characters are replaced by `_`,
    dots at the beginning are removed, and the length is limited. A hash of the original name is
    appended, so that different names stay different.

    Args:
        name: any text, without a file extension.

    Returns:
        A single, visible path component of at most 160 bytes.
    """
    clean = UNSAFE.sub("_", name).lstrip(". ").rstrip(" ")
    clean = clean.encode()[:LONGEST].decode(errors="ignore")
    if clean == name and clean:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:DIGITS]
    short = clean.encode()[: LONGEST - DIGITS - 1].decode(errors="ignore")
    return f"{short or 'unnamed'}-{digest}"


def image_name(dataset_dict: Mapping) -> str:
    """Returns the name of an image of a dataset: `dsb_id` if the dict has it, else `image_id`."""
    return str(dataset_dict.get("dsb_id", dataset_dict["image_id"]))


def image_file_name(dataset_dict: Mapping) -> str:
    """Returns the name, without extension, of the output files of an image of a dataset."""
    return file_name(image_name(dataset_dict))


def printable(text: object) -> str:
    """Converts an object to one line of text that can be written to any file.

    Bytes of file names that are not UTF-8 are replaced, and line breaks become spaces.
    """
    clean = str(text).encode(errors="surrogateescape").decode(errors="replace")
    return " ".join(clean.splitlines())


def check_address(address: str) -> None:
    """Checks the address of weights. File paths are not checked.

    Raises:
        UsageError: the address has an unknown scheme, or its path would lead out of the download
            folder.
    """
    scheme, is_address, rest = address.partition("://")
    if not is_address:
        return
    if scheme not in ADDRESSES:
        raise UsageError(f"weights {address}: expected a file, or one of {', '.join(ADDRESSES)}://")
    path = unquote(rest).split("?")[0].split("#")[0]
    if ".." in path.replace("\\", "/").split("/") or "\0" in path:
        raise UsageError(f"weights {address}: unsafe path, expected a path without '..'")


def is_inside(relative: str) -> bool:
    """Whether a path is relative and does not lead out of its folder, on any system."""
    parts = PurePosixPath(relative.replace("\\", "/")).parts
    if not parts or "\0" in relative:
        return False
    return not parts[0].startswith("/") and ".." not in parts and ":" not in parts[0]

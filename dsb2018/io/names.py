"""File names from names that come from outside: image files, ids in JSON, the command line."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote

from dsb2018.errors import UsageError

# What separates folders on any system, Windows' drive letters, and control characters.
UNSAFE = re.compile(r"[/\\:\x00-\x1f\x7f-\x9f\ud800-\udfff]")
LONGEST = 160  # bytes; leaves space for endings, where most file systems allow 255
ADDRESSES = ("dsb2018", "imagenet", "detectron2", "https", "http")  # kinds of weights
DIGITS = 8  # of the hash that keeps changed names apart


def file_name(name: str) -> str:
    """A name that stays in the folder where it is used, however the given one looks.

    An ordinary name comes back as it is. Otherwise unsafe characters become `_`, dots at the start
    are removed, a long name is cut, and a hash of the whole name is added, so that two different
    names never become the same.

    Args:
        name: any text, without the ending of the file.

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
    """The name of an image of a dataset: `dsb_id`, which other datasets lack, or `image_id`."""
    return str(dataset_dict.get("dsb_id", dataset_dict["image_id"]))


def image_file_name(dataset_dict: Mapping) -> str:
    """The name of files about an image of a dataset, without their extension."""
    return file_name(image_name(dataset_dict))


def printable(text: object) -> str:
    """Text that can be written to any file: what is not UTF-8 in a file's name is replaced, and
    line breaks become spaces."""
    clean = str(text).encode(errors="surrogateescape").decode(errors="replace")
    return " ".join(clean.splitlines())


def check_address(address: str) -> None:
    """Checks the name of weights, which may be an address.

    Raises:
        UsageError: an address of an unknown kind, or one whose path would leave the folder that
            downloads are kept in.
    """
    kind, is_address, rest = address.partition("://")
    if not is_address:
        return
    if kind not in ADDRESSES:
        raise UsageError(f"weights {address}: expected a file, or one of {', '.join(ADDRESSES)}://")
    path = unquote(rest).split("?")[0].split("#")[0]
    if ".." in path.replace("\\", "/").split("/") or "\0" in path:
        raise UsageError(f"weights {address}: an unsafe path")


def is_inside(relative: str) -> bool:
    """Whether a relative path with forward slashes stays in the folder that it starts from."""
    parts = PurePosixPath(relative.replace("\\", "/")).parts
    if not parts or "\0" in relative:
        return False
    return not parts[0].startswith("/") and ".." not in parts and ":" not in parts[0]

"""Images in object stores and on web servers: OME-Zarr under a URL, read through fsspec."""

import hashlib
import re
from importlib.util import find_spec
from pathlib import Path

from dsb2018.errors import UsageError

# Libraries that open the URLs of a protocol.
LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
METADATA = (".zarray", ".zattrs", ".zgroup", "zarr.json")  # of a group or array


def is_url(text: str) -> bool:
    """Returns whether a text is a URL, such as `s3://bucket/plate.zarr`."""
    return re.match(r"[a-z][a-z0-9+.-]+://", text, re.IGNORECASE) is not None


def open_url(url: str) -> Path:
    """Returns the path of an OME-Zarr image or plate.

    Args:
        url: of the store. Its protocol is one of `LIBRARIES`, or any other of fsspec.

    Raises:
        ImportError: a library is missing.
        UsageError: the URL does not name a Zarr store.
    """
    if ".zarr" not in url.lower():
        raise UsageError(
            f"{url}: expected the URL of an OME-Zarr store, such as s3://bucket/plate.zarr; "
            "download other files"
        )
    protocol = url.split("://")[0].lower()
    if not all(map(find_spec, ("upath", LIBRARIES.get(protocol, "fsspec")))):
        raise ImportError(f'{url}: URLs need: pip install "dsb2018[cloud]"')
    from upath import UPath

    return UPath(url.rstrip("/"))


def is_remote(path: Path) -> bool:
    """Returns whether `open_url` returned the path."""
    return is_url(str(path))


def remote_state(path: Path) -> str:
    """Returns a hash of the metadata of a store.

    Its chunks are not read: that would take as long as the prediction.
    """
    content = hashlib.sha256()
    for name in (*METADATA, *(f"0/{name}" for name in METADATA)):
        try:
            content.update((path / name).read_bytes())
        except OSError:  # this file does not exist
            content.update(b"\0")
    return content.hexdigest()

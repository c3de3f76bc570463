"""Reads NumPy's `.npy` files without pickle and without trusting their header."""

import io
import os
import tokenize

import numpy as np

from dsb2018.io.files import read_file

# Errors of NumPy's header parser for damaged files, besides ValueError.
HEADER_ERRORS = (SyntaxError, tokenize.TokenError, TypeError, RecursionError, MemoryError)


def read_array(path: str | os.PathLike) -> np.ndarray:
    """Reads an array.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not an `.npy` file, contains Python objects, or is not of the size
            that its header gives.
    """
    data = read_file(path)
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, is_fortran, dtype = read_header(file)
    except (*HEADER_ERRORS, ValueError, KeyError, EOFError) as error:
        raise ValueError(f"{path}: not an .npy file ({error})") from error
    if dtype.hasobject:
        raise ValueError(
            f"{path}: an array of Python objects, which could run code, expected numbers"
        )
    count, begin = int(np.prod(shape, dtype=object)), file.tell()
    if count < 0 or len(data) - begin != count * dtype.itemsize:
        raise ValueError(
            f"{path}: damaged .npy file, {len(data) - begin} bytes of values, expected "
            f"{count * dtype.itemsize} as in its header"
        )
    values = np.frombuffer(data, dtype, count, begin)
    return values.reshape(shape, order="F" if is_fortran else "C")

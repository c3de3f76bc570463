"""NumPy's `.npy` files, read without pickles and without trusting their header."""

import io
import os
import tokenize

import numpy as np

from dsb2018.io.files import read_file

# What NumPy's parser of headers raises on noise beside ValueError.
HEADER_ERRORS = (SyntaxError, tokenize.TokenError, TypeError, RecursionError, MemoryError)


def read_array(path: str | os.PathLike) -> np.ndarray:
    """Reads an array.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an `.npy` file, one of Python objects, or one that has fewer bytes than its
            header says.
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
        raise ValueError(f"{path}: an array of Python objects, which could run code; refused")
    count, begin = int(np.prod(shape, dtype=object)), file.tell()
    if count < 0 or len(data) - begin != count * dtype.itemsize:
        raise ValueError(f"{path}: damaged, it has another number of bytes than its header says")
    values = np.frombuffer(data, dtype, count, begin)
    return values.reshape(shape, order="F" if is_fortran else "C")

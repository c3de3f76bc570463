"""Reader of MATLAB files, version 7.2 and older.

SciPy's reader is compiled code, which a damaged file can crash. It therefore runs in a process of
its own, so that the preparation can name the file and continue.
"""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np

SECONDS = 120  # until a file is given up
NO_VARIABLE, UNREADABLE = 3, 4  # exit statuses
CODE = f"""
import io, sys
import numpy
from scipy.io import loadmat

try:
    content = loadmat(sys.argv[1], variable_names=[sys.argv[2]])
    array = numpy.asarray(content[sys.argv[2]])
except KeyError:
    sys.exit({NO_VARIABLE})
except Exception as error:  # SciPy raises errors of any type for damaged files
    print(error, file=sys.stderr)
    sys.exit({UNREADABLE})
file = io.BytesIO()  # NumPy cannot write to a pipe
numpy.save(file, array, allow_pickle=False)
sys.stdout.buffer.write(file.getvalue())
"""


def read_matlab(path: Path, name: str) -> np.ndarray:
    """Reads a variable of a MATLAB file.

    Args:
        path: the file.
        name: the variable, an array of numbers.

    Raises:
        ValueError: the file is damaged, or has no such variable.
    """
    command = [sys.executable, "-c", CODE, str(path), name]
    try:
        result = subprocess.run(command, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"not read within {SECONDS} seconds") from error
    if result.returncode == NO_VARIABLE:
        raise ValueError(f"no variable {name}, expected a label image of this name")
    if result.returncode:
        lines = result.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"its reader ended with status {result.returncode}"
        raise ValueError(f"not a readable MATLAB file ({reason})")
    return np.load(io.BytesIO(result.stdout), allow_pickle=False)

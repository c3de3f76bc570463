import subprocess
import sys

import numpy as np

from dsb2018.memory import peak_memory


def test_peak_memory_of_this_process():
    initial_peak = peak_memory()
    assert initial_peak > 1e7
    array = np.ones(max(initial_peak, 300_000_000), np.uint8)
    assert peak_memory() >= array.nbytes
    del array
    assert peak_memory() >= 300_000_000  # freed memory still counts
    code = "from dsb2018.memory import peak_memory; print(peak_memory())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(child.stdout) < 200_000_000  # memory of the parent does not count

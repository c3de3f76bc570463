import subprocess
import sys

import numpy as np

from dsb2018.memory import peak_memory


def test_memory_of_this_process_alone():
    before = peak_memory()
    assert before > 1e7
    block = np.ones(max(before, 300_000_000), np.uint8)  # above whatever was taken before
    assert peak_memory() >= block.nbytes
    del block
    assert peak_memory() >= 300_000_000  # what was given back counts too
    code = "from dsb2018.memory import peak_memory; print(peak_memory())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(child.stdout) < 200_000_000

"""How much memory this process has taken."""

import resource
import sys
from pathlib import Path


def peak_memory() -> int:
    """The most bytes that this process had in memory at once.

    On Linux not `resource`'s number, which a process takes over from the one that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(each for each in status.read_text().splitlines() if each.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

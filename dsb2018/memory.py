"""Memory usage of this process."""

import resource
import sys
from pathlib import Path


def peak_memory() -> int:
    """Returns the peak resident memory of this process in bytes.

    On Linux it is read from /proc, because a process inherits the value of `resource` from its
    parent.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

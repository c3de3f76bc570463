"""An exporter that is killed. This module is light, because each new process imports it."""

import os
import signal

from dsb2018.inference.export.base import ExportJob
from dsb2018.inference.export.run_exporters import export_image


def export_or_be_killed(job: ExportJob) -> dict:
    if job.name == "i2":
        os.kill(os.getpid(), signal.SIGKILL)
    return export_image(job)

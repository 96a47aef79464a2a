"""Which device the arithmetic of this machine is done on."""

import shutil
import subprocess


def find_device():
    """Name the first GPU that the driver knows, or say that there is none."""
    if shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
        if listed.returncode == 0 and listed.stdout:
            return listed.stdout.splitlines()[0]
    return "cpu (this machine has no GPU)"

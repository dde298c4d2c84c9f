"""The memory of a command while it runs."""

import subprocess
import sys
import threading
import time
from pathlib import Path


def anonymous(pid):
    """What a process has of it now, in MiB; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0) / 1024
    except (OSError, ValueError):
        return 0


def most_resident(pid):
    """The most that a process ever held in MiB, mapped files included; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0) / 1024
    except (OSError, ValueError):
        return 0


def watched(command):
    """The most anonymous memory of a process in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most = 0

    def watch():
        nonlocal most
        while process.poll() is None:
            most = max(most, anonymous(process.pid))
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    process.wait()
    thread.join()
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed: {process.returncode}")
    return most

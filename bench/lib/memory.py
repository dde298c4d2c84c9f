"""The memory of a command while it runs."""

import subprocess
import sys
import threading
import time
from pathlib import Path


def watched(command):
    """The most anonymous memory of a process in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most = 0

    def watch():
        nonlocal most
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
                most = max(most, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")))
            except (OSError, TypeError, ValueError):
                pass
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    process.wait()
    thread.join()
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed: {process.returncode}")
    return most / 1024

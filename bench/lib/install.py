"""Virtual environments and commands of the peers' installation. Downloads go through pip and apt-get alone."""

import os
import subprocess
import sys
from pathlib import Path


def run(command: list[str], environment: dict[str, str] | None = None, folder: Path | None = None) -> None:
    """Shows the command and runs it at the lowest priority: an installation is never in a hurry."""
    print("+ " + subprocess.list2cmdline(command), file=sys.stderr, flush=True)
    lowest = ["nice", "-n", "19", *command]
    subprocess.run(lowest, check=True, env=os.environ | (environment or {}), cwd=folder, stdout=sys.stderr)


def venv(folder: Path) -> Path:
    if not (folder / "bin/pip").exists():
        run([sys.executable, "-m", "venv", str(folder)])
    return folder


def pip(environment: Path, *arguments: str) -> None:
    """With the environment's own tools first on the path, for packages that are built."""
    path = f"{environment / 'bin'}:{os.environ['PATH']}"
    run([str(environment / "bin/pip"), *arguments], {"PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})

"""A server as a process group: started, waited for, stopped while another is measured, asked for its memory.

An idle server is stopped with SIGSTOP, because its spinning threads disturb the one that is measured; with the whole
group, since a server may be several processes.
"""

import http.client
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from .client import check_usage

START_SECONDS = 900


class Server:
    """What the client needs of a server; subclasses say how it is started."""

    # What the request's extra fields are called differs.
    extra_fields: dict = {}
    # vLLM draws seeded requests one row at a time, which would slow it down; unseeded is its fast way.
    sends_seed = True
    model_name = "model"

    def __init__(self, name: str, folder: Path, threads: int):
        self.name = name
        self.folder = folder
        self.threads = threads
        self.port = 0
        self.process: subprocess.Popen | None = None
        self.load_seconds = 0.0
        self.running: list[str] | None = None

    def command(self, workload) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def check_answer(self, answer: dict, prompt_tokens: int, generated: int, samples: int) -> None:
        if len(answer["choices"]) != samples:
            raise RuntimeError(f"{self.name} gave {len(answer['choices'])} choices instead of {samples}")
        check_usage(self, answer["usage"], prompt_tokens, generated)

    # ---- life ----

    def prepare(self, workload) -> None:
        """Runs as the workload needs it: started, or started again where its flags depend on the workload."""
        command = self.command(workload)
        if self.process is not None and command == self.running:
            self.resume()
            return
        self.stop()
        self.port = free_port()
        arguments = [argument.replace("{port}", str(self.port)) for argument in command]
        log = open(self.folder / f"{self.name.replace(':', '-')}.log", "ab")
        started = time.perf_counter()
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | self.environment(),
            start_new_session=True,
        )
        log.close()
        self.running = command
        self.wait_until_ready()
        self.load_seconds = time.perf_counter() - started

    def wait_until_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}: see {self.folder}")
            if healthy(self.port):
                return
            time.sleep(0.2)
        raise RuntimeError(f"{self.name} was not ready after {START_SECONDS} s: see {self.folder}")

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is None:
            return
        self.resume()
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            pass
        # The rest of the group, which may outlive its leader.
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process = None
        self.running = None

    def signal(self, number: int) -> None:
        if self.process is not None:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                pass

    # ---- memory ----

    def memory_bytes(self) -> int | None:
        """The group's memory, pages that its processes share counted once (Pss)."""
        sizes = [kilobytes(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in group(self.process.pid)]
        known = [size for size in sizes if size is not None]
        return sum(known) * 1024 if known else None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def group(leader: int) -> list[int]:
    """The processes of the leader's group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == leader:
                    found.append(int(entry.name))
            except ProcessLookupError:
                pass
    return found


def kilobytes(path: str, key: str) -> int | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    values = [int(line.split()[1]) for line in lines if line.startswith(key)]
    return values[0] if values else None

"""Servers for the client tests: the real binary, the real default model, a free port each."""

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import openai
import pytest

MODEL = "smol"


def model_path():
    """The GGUF file: it loads in half a second. CLIENT_TESTS_MODEL names another model."""
    named = os.environ.get("CLIENT_TESTS_MODEL")
    path = Path(named) if named else Path(os.environ["XENOGLOT_MODELS"]) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.exists():
        pytest.exit(f"{path} is not there: run scripts/fetch-models, or set XENOGLOT_MODELS", returncode=1)
    return path


class Server:
    """One `xenoglot serve`. Its log is kept for the report of a failed start."""

    def __init__(self, *flags, environment=None):
        command = [os.environ["CLIENT_TESTS_BINARY"], "serve", str(model_path()), "--port", "0"]
        command += ["--served-model-name", MODEL, "--max-model-len", "2048", "--kv-cache-memory", "512MiB", *flags]
        # A store of its own: servers on one store share their work.
        self.folder = tempfile.TemporaryDirectory()
        store = f"sqlite:{self.folder.name}/store.db"
        variables = {**os.environ, "NO_COLOR": "1", "XENOGLOT_STORE": store, **(environment or {})}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables)
        self.log = []
        self.address = None
        self.listening = threading.Event()
        threading.Thread(target=self._read_log, daemon=True).start()
        if not self.listening.wait(120) or self.address is None:
            self.stop()
            raise RuntimeError("the server did not start:\n" + "".join(self.log))
        self.url = f"http://{self.address}"
        self.host, port = self.address.rsplit(":", 1)
        self.port = int(port)

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"listening on http://(\S+?);", re.sub(r"\x1b\[[0-9;]*m", "", line))
            if found:
                self.address = found.group(1)
                self.listening.set()
        self.listening.set()

    def client(self, key="none", **options):
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=120, **options)

    def metrics(self):
        text = urllib.request.urlopen(f"{self.url}/metrics").read().decode()
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {re.sub(r',?model_name="[^"]*"', "", name).replace("{}", ""): float(value) for name, value in pairs}

    def metric(self, name):
        return self.metrics()[f"xenoglot_{name}"]

    def wait_until_idle(self, seconds=10):
        """Nothing runs, nothing waits, no KV block is held."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            now = self.metrics()
            gauges = ["num_requests_running", "num_requests_waiting", "kv_blocks_in_use", "kv_cache_usage_perc"]
            if all(now[f"xenoglot_{gauge}"] == 0 for gauge in gauges):
                return
            time.sleep(0.05)
        raise AssertionError(f"still busy: {self.metrics()}")

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.folder.cleanup()


@pytest.fixture(scope="session")
def server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def start():
    """Start a server with flags of its own; it ends with the test."""
    started = []

    def start(*flags, **options):
        started.append(Server(*flags, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def client(server):
    return server.client()

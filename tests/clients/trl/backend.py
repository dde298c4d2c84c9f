"""A `xenoglot serve --rollout-backend` of one's own, on a free port."""

import json
import os
import re
import subprocess
import tempfile
import threading
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def backend(model, *flags):
    """The server's URL; the server ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        command = [os.environ["XENOGLOT_BIN"], "serve", str(model), "--rollout-backend", "--dtype", "f32", "--port", "0", *flags]
        variables = {**os.environ, "NO_COLOR": "1", "XENOGLOT_STORE": f"sqlite:{folder}/store.db"}
        # The scripts that make the models read it, the server does not know it.
        variables.pop("XENOGLOT_BIN")
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables)
        log, address = [], []
        listening = threading.Event()

        def read():
            for line in server.stderr:
                log.append(line)
                if found := re.search(r"listening on http://(\S+?);", re.sub(r"\x1b\[[0-9;]*m", "", line)):
                    address.append(found[1])
                    listening.set()
            listening.set()

        threading.Thread(target=read, daemon=True).start()
        try:
            if not listening.wait(300) or not address:
                raise RuntimeError("the server did not start:\n" + "".join(log))
            yield f"http://{address[0]}"
        finally:
            server.kill()
            server.wait()


def get(url):
    return json.load(urllib.request.urlopen(url))

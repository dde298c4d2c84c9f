"""Load, hang-ups and the end of the process."""

import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import MODEL, model_path


def test_a_hang_up_frees_the_blocks(server, client):
    before = server.metric("generation_tokens_total")
    extra = {"ignore_eos": True}
    stream = client.completions.create(model=MODEL, prompt="Once", max_tokens=2000, n=8, stream=True, extra_body=extra)
    for _ in range(3):
        next(stream)
    assert server.metric("kv_blocks_in_use") > 0
    stream.close()
    server.wait_until_idle(5)
    assert server.metric("generation_tokens_total") - before < 16_000
    assert server.metrics()['xenoglot_request_success_total{finished_reason="abort"}'] >= 8


def test_thirty_two_streams_and_two_hundred_queued(start):
    """None lost, and the KV blocks back to zero, read from /metrics."""
    server = start("--max-num-seqs", "32", "--max-queue", "1024")
    client = server.client()
    peak = {"waiting": 0, "running": 0}
    done = threading.Event()

    def watch():
        while not done.wait(0.05):
            now = server.metrics()
            peak["waiting"] = max(peak["waiting"], now["xenoglot_num_requests_waiting"])
            peak["running"] = max(peak["running"], now["xenoglot_num_requests_running"])

    def one(index):
        request = {"model": MODEL, "prompt": f"Story {index}:", "max_tokens": 16, "seed": index, "temperature": 1}
        request["extra_body"] = {"ignore_eos": True}
        if index >= 32:
            return client.completions.create(**request).usage.completion_tokens
        options = {"include_usage": True}
        chunks = list(client.completions.create(**request, stream=True, stream_options=options))
        assert sum(bool(c.choices and c.choices[0].finish_reason) for c in chunks) == 1
        return chunks[-1].usage.completion_tokens

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(232) as pool:
        counts = list(pool.map(one, range(232)))
    done.set()
    watcher.join()
    assert counts == [16] * 232
    assert peak["running"] <= 32 and peak["waiting"] >= 100, peak
    server.wait_until_idle()
    assert server.metric("kv_blocks_in_use") == 0
    assert server.metric("kv_cache_usage_perc") == 0
    assert server.metric("generation_tokens_total") == 232 * 16


def test_sigterm_finishes_streams(start):
    server = start()
    extra = {"ignore_eos": True}
    stream = server.client().completions.create(
        model=MODEL, prompt="Once", max_tokens=60, stream=True, extra_body=extra, stream_options={"include_usage": True}
    )
    first = next(stream)
    server.signal(signal.SIGTERM)
    time.sleep(0.2)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{server.url}/health", timeout=5)
    rest = list(stream)
    assert first.choices and rest[-1].usage.completion_tokens == 60
    assert server.process.wait(20) == 0


def test_a_second_signal_ends_at_once(start):
    server = start()
    stream = server.client().completions.create(
        model=MODEL, prompt="Once", max_tokens=2000, stream=True, extra_body={"ignore_eos": True}
    )
    next(stream)
    server.signal(signal.SIGINT)
    time.sleep(0.3)
    assert server.process.poll() is None
    server.signal(signal.SIGINT)
    server.process.wait(5)
    stream.close()


def test_a_taken_port_is_one_clear_error(server):
    command = [os.environ["CLIENT_TESTS_BINARY"], "serve", str(model_path()), "--port", str(server.port)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode != 0
    assert str(server.port) in second.stderr and "--port" in second.stderr
    assert "panicked" not in second.stderr


def test_keys_from_the_environment(start):
    server = start(environment={"XENOGLOT_API_KEYS": "sk-a,sk-b"})
    assert [model.id for model in server.client("sk-b").models.list()] == [MODEL]

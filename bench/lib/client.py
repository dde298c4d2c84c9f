"""The one client for every server: `POST /v1/completions`, not streamed, one connection a request.

Not streamed, because a client that parses thousands of chunks takes time from a server on the same two cores. Its
own CPU time is measured and reported. Time to the first token comes from requests for one token.
"""

import http.client
import json
import threading
import time
from dataclasses import dataclass

from .workloads import Workload, prompt

TIMEOUT_SECONDS = 1800


@dataclass
class Run:
    seconds: float
    # The slowest request is `seconds`; this is the median.
    median_seconds: float
    client_cpu_seconds: float

    def speed(self, workload: Workload) -> float:
        return workload.counted_tokens() / self.seconds


def body(server, workload: Workload, run: int, client: int) -> dict:
    """Equal sampling for all: temperature 1 and no truncation; only the spelling of a server's extras differs."""
    request = {
        "model": server.model_name,
        "prompt": prompt(workload.prompts[client], run, client),
        "max_tokens": workload.tokens,
        "n": workload.samples,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "ignore_eos": True,
        "stream": False,
    }
    if server.sends_seed:
        request["seed"] = run * 1000 + client
    return request | server.extra_fields


def complete(server, request: dict) -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
    try:
        payload = json.dumps(request)
        connection.request("POST", "/v1/completions", payload, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{server.name} answered {answer.status}: {text[:500]}")
    return json.loads(text)


def check_usage(server, usage: dict, prompt_tokens: int, generated: int) -> None:
    """A server that computes fewer tokens than asked would be fast."""
    found = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    if found != (prompt_tokens, generated):
        raise RuntimeError(
            f"{server.name} reports (prompt, completion) tokens {found} instead of {(prompt_tokens, generated)}"
        )


def measure(server, workload: Workload, run: int) -> Run:
    """Sends all requests of a workload at once and waits for the last answer."""
    requests = [body(server, workload, run, client) for client in range(len(workload.prompts))]
    answers: list = [None] * len(requests)
    seconds = [0.0] * len(requests)
    cpu = time.process_time()
    started = time.perf_counter()

    def one(client: int) -> None:
        try:
            answers[client] = complete(server, requests[client])
        except Exception as error:  # Raised below, on the caller's thread.
            answers[client] = error
        seconds[client] = time.perf_counter() - started

    if len(requests) == 1:
        one(0)
    else:
        threads = [threading.Thread(target=one, args=(client,)) for client in range(len(requests))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    total, cpu = time.perf_counter() - started, time.process_time() - cpu
    for client, answer in enumerate(answers):
        if isinstance(answer, Exception):
            raise answer
        tokens = workload.samples * workload.tokens
        server.check_answer(answer, workload.prompts[client], tokens, workload.samples)
    return Run(total, sorted(seconds)[len(seconds) // 2], cpu)

"""What openai-python raises, and what raw clients get, when something is wrong."""

import http.client
import json
import socket
import threading
import time

import openai
import pytest
from conftest import MODEL

HELLO = [{"role": "user", "content": "Hello"}]


def chat(client, **more):
    return client.chat.completions.create(**{"model": MODEL, "messages": HELLO, "max_tokens": 4, **more})


def post(server, body, path="/v1/chat/completions", headers=None):
    """A raw POST: status, parsed error, headers."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    connection.request("POST", path, body, {"Content-Type": "application/json", **(headers or {})})
    response = connection.getresponse()
    error = json.loads(response.read())["error"]
    assert error["message"] and error["type"]
    return response.status, error, response.headers


BAD = [
    ({"temperature": -1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 2.5}, "max_tokens"),
    ({"max_tokens": 10**12}, "max_tokens"),
    ({"n": 0}, "n"),
    ({"n": 10**9}, "n"),
    ({"n": -3}, "n"),
    ({"seed": 1.5}, "seed"),
    ({"seed": 10**30}, "seed"),
    ({"stop": [1]}, "stop.0"),
    ({"top_logprobs": 5}, "top_logprobs"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": {"a": 1}}]}, "messages.0.content"),
    ({"messages": [{"role": "king", "content": "a"}]}, "messages.0.role"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"extra_body": {"temprature": 1}}, "temprature"),
    ({"extra_body": {"chat_template": "{{ 1 }}"}}, "chat_template"),
    ({"extra_body": {"chat_template_kwargs": {"x": 1}}}, "chat_template_kwargs.x"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[f"{param}-{i}" for i, (_, param) in enumerate(BAD)])
def test_bad_fields_are_named(client, fields, param):
    with pytest.raises(openai.BadRequestError) as error:
        chat(client, **fields)
    assert error.value.param == param
    assert error.value.type == "invalid_request_error"
    assert error.value.request_id


def test_a_typing_error_gets_a_hint(client):
    with pytest.raises(openai.BadRequestError, match="did you mean `temperature`"):
        chat(client, extra_body={"temprature": 1})


def test_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as error:
        chat(client, model="gpt-9")
    assert (error.value.code, error.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("org/none")


def test_context_exceeded(client):
    for fields in [{"max_tokens": 5000}, {"messages": [{"role": "user", "content": "word " * 5000}]}]:
        with pytest.raises(openai.BadRequestError) as error:
            chat(client, **fields)
        assert (error.value.code, error.value.param) == ("context_length_exceeded", "messages")


def test_keys(start):
    server = start("--api-key", "sk-use", "--admin-key", "sk-admin")
    for key in ["sk-wrong", "sk-us", "none"]:
        with pytest.raises(openai.AuthenticationError) as error:
            chat(server.client(key))
        assert error.value.code == "invalid_api_key"
    assert chat(server.client("sk-use")).choices
    reset = {"path": "/reset_prefix_cache", "body": b""}
    assert post(server, **reset)[0] == 401
    assert post(server, **reset, headers={"Authorization": "Bearer sk-use"})[0] == 403


def test_admin_is_off_without_a_key(server):
    assert post(server, b"", path="/reset_prefix_cache")[0] == 403


def test_full_queue(start):
    server = start("--max-queue", "1", "--max-num-seqs", "1")
    with server.client().completions.create(
        model=MODEL, prompt="Count", max_tokens=1500, stream=True, extra_body={"ignore_eos": True}
    ) as busy:
        next(iter(busy))
        outcomes = []

        def one():
            try:
                chat(server.client())
                outcomes.append(200)
            except openai.RateLimitError as error:
                assert int(error.response.headers["retry-after"]) >= 1
                assert error.code == "queue_full"
                outcomes.append(429)

        threads = [threading.Thread(target=one) for _ in range(6)]
        for thread in threads:
            thread.start()
        while outcomes.count(429) < 5:
            time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [200, 429, 429, 429, 429, 429]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"messages": "\xff\xfe"}', b"[" * 100_000, b'{"messages": [{"role":', b"\x00" * 100],
)
def test_bodies_that_are_no_json(server, body):
    status, error, _ = post(server, body)
    assert (status, error["code"]) == (400, "invalid_json")


def test_a_body_of_100_mb(server):
    status, error, _ = post(server, b" " * (100 << 20))
    assert (status, error["code"]) == (413, "request_too_large")


def test_another_media_type(server):
    status, _, _ = post(server, b"{}", headers={"Content-Type": "text/plain"})
    assert status == 415


def test_paths_and_methods(server):
    assert post(server, b"{}", path="/v1/nothing")[0] == 404
    assert post(server, b"{}", path="/v1/models")[0] == 405


def test_garbage_on_the_socket(server, client):
    for garbage in [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"A" * 200_000]:
        with socket.create_connection((server.host, server.port), timeout=10) as raw:
            try:
                raw.sendall(garbage)
                raw.shutdown(socket.SHUT_WR)
                raw.recv(4096)
            except OSError:
                pass  # The server may hang up on garbage.
    assert chat(client).choices


def test_the_server_still_serves(server, client):
    assert chat(client).choices
    server.wait_until_idle()

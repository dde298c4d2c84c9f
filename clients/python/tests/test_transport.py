"""The trainer's end against a server's, written out by hand."""

import socket
import threading

import pytest
import torch
from vllm import LLM
from vllm.distributed.weight_transfer import nccl_common
from vllm.distributed.weight_transfer.nccl_common import trainer_init
from vllm.distributed.weight_transfer.packed_tensor import packed_nccl_broadcast_producer
from vllm.sampling_params import StructuredOutputsParams
from vllm.utils.network_utils import get_ip, get_open_port


class Server(threading.Thread):
    """Connects as the server does, and reads to the end or hangs up at once."""

    def __init__(self, port, reads=True):
        super().__init__(daemon=True)
        self.port, self.reads, self.received = port, reads, b""
        self.start()

    def run(self):
        for _ in range(100):
            try:
                connection = socket.create_connection(("127.0.0.1", self.port))
                break
            except OSError:
                threading.Event().wait(0.05)
        while self.reads and (piece := connection.recv(1 << 16)):
            self.received += piece
        connection.close()


def connected(**options):
    port = get_open_port()
    server = Server(port, **options)
    return trainer_init({"master_address": get_ip(), "master_port": port, "world_size": 2}), server


def test_tensors_go_as_their_bytes_in_order():
    group, server = connected()
    tensors = [
        torch.arange(6, dtype=torch.float32).reshape(2, 3),
        torch.tensor([1.0, -2.0], dtype=torch.bfloat16),
        torch.tensor(0.5),
        torch.arange(6, dtype=torch.float32).reshape(2, 3).t(),
        torch.nn.Parameter(torch.ones(2, dtype=torch.float16)),
    ]
    named = ((f"t{at}", tensor) for at, tensor in enumerate(tensors))
    packed_nccl_broadcast_producer(iterator=named, group=group, src=0, post_iter_func=lambda item: item[1])
    group.group.store = None
    group.group.socket = None
    server.join(10)
    expected = b"".join(
        tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for tensor in tensors
    )
    assert server.received == expected
    assert len(expected) == 24 + 4 + 4 + 24 + 4


def test_a_server_that_hung_up_is_left_to_say_why():
    group, server = connected(reads=False)
    server.join(10)
    many = ((name, torch.zeros(1 << 20)) for name in "abcd")
    packed_nccl_broadcast_producer(iterator=many, group=group, src=0, post_iter_func=lambda item: item[1])
    assert group.group.socket is None
    assert next(many, None) is None, "every process of the trainer takes part in gathering every tensor"


def test_a_server_that_does_not_come_is_not_waited_for_forever(monkeypatch):
    monkeypatch.setattr(nccl_common, "ACCEPT_SECONDS", 0.1)
    with pytest.raises(TimeoutError, match="--rollout-backend"):
        trainer_init({"master_address": "127.0.0.1", "master_port": get_open_port()})


def test_the_address_can_be_set(monkeypatch):
    assert get_ip() == "127.0.0.1"
    monkeypatch.setenv("XENOGLOT_TRAINER_ADDRESS", "192.0.2.1")
    assert get_ip() == "192.0.2.1"


def test_engines_say_where_they_are():
    for engine in (LLM, StructuredOutputsParams):
        with pytest.raises(NotImplementedError, match="vllm_mode='server'"):
            engine(model="x")


def test_trl_finds_the_names():
    trl = pytest.importorskip("trl.import_utils")
    assert trl.is_vllm_available(min_version="0.28.0")
    from trl.generation import vllm_client

    assert vllm_client.open_trainer_endpoint is trainer_init

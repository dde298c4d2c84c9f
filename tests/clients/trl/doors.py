"""The doors of TRL's AsyncGRPO that need no GPU, by its own clients: weights over the connection while requests stand still, and
adapters that are loaded between a pause and a resume. Rollouts' logprobs are held against transformers'. Usage: see `run`."""

import json
import random
import sys
import threading
import warnings

import requests
import torch
from accelerate import PartialState
from backend import ROOT, backend
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from trl.experimental.async_grpo.vllm_client import VLLMClient
from trl.experimental.async_grpo.weight_transfer import WeightTransferClient

warnings.filterwarnings("ignore")

MODEL = ROOT / "tests/fixtures/models/qwen3"
RANK, ALPHA = 4, 8
PROMPT = [37, 38, 39, 40, 41]


def rollout(url, model):
    """As AsyncGRPO's worker asks for one turn."""
    body = {
        "model": model,
        "prompt": PROMPT,
        "max_tokens": 24,
        "temperature": 0.8,
        "top_p": 1.0,
        "top_k": 0,
        "repetition_penalty": 1.0,
        "n": 1,
        "return_token_ids": True,
        "logprobs": 0,
        "seed": random.getrandbits(63),
    }
    answer = requests.post(f"{url}/v1/completions", json=body)
    answer.raise_for_status()
    choice = answer.json()["choices"][0]
    return choice["token_ids"], choice["logprobs"]["token_logprobs"], choice["weight_version"]


@torch.no_grad()
def difference(model, ids, logprobs):
    logits = model(torch.tensor([PROMPT + ids])).logits[0, len(PROMPT) - 1 : -1] / 0.8
    own = torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[:, None])[:, 0]
    return (own - torch.tensor(logprobs)).abs().max().item()


def write_adapter(model, folder, seed):
    """An adapter as PEFT writes it; adds it to the model."""
    torch.manual_seed(seed)
    tensors = {}
    for at, layer in enumerate(model.model.layers):
        for name in ("q_proj", "v_proj"):
            linear = getattr(layer.self_attn, name)
            out, into = linear.weight.shape
            a, b = torch.randn(RANK, into) * 0.1, torch.randn(out, RANK) * 0.1
            place = f"base_model.model.model.layers.{at}.self_attn.{name}"
            tensors |= {f"{place}.lora_A.weight": a, f"{place}.lora_B.weight": b}
            linear.weight.data += ALPHA / RANK * b @ a
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "bias": "none", "lora_dropout": 0.0}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["q_proj", "v_proj"]}))


def load():
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()


def weights(url, client):
    """Three syncs while rollouts run; none is lost."""
    model, largest = load(), 0.0
    info = [(name, str(weight.dtype).removeprefix("torch."), list(weight.shape)) for name, weight in model.named_parameters()]
    fields = dict(zip(("names", "dtype_names", "shapes"), map(list, zip(*info, strict=True)), strict=True))
    transfer = WeightTransferClient(client, fields)
    transfer.init_weight_transfer()
    for sync in range(1, 4):
        with torch.no_grad():
            for weight in model.parameters():
                weight += 0.02 * torch.randn_like(weight)
        answers = []
        running = threading.Thread(target=lambda: answers.append(rollout(url, "qwen3")))
        running.start()
        transfer.pause()
        transfer.send_weights(iter(model.named_parameters()))
        transfer.resume()
        running.join(60)
        assert answers, "a rollout was lost"
        ids, logprobs, version = rollout(url, "qwen3")
        assert version == sync, (version, sync)
        largest = max(largest, difference(model, ids, logprobs))
    transfer.destroy()
    return largest


def adapters(url, client, out):
    """A policy a sync under a new name, as `_sync_weight_lora` does it."""
    largest = 0.0
    for version in (1, 2, 3):
        model = load()
        folder = out / f"trl-policy-v{version}"
        write_adapter(model, folder, version)
        client.pause()
        client.load_lora_adapter(f"trl-policy-v{version}", str(folder))
        client.resume()
        if version > 1:
            client.unload_lora_adapter(f"trl-policy-v{version - 1}")
        ids, logprobs, _ = rollout(url, f"trl-policy-v{version}")
        largest = max(largest, difference(model, ids, logprobs))
    gone = requests.post(f"{url}/v1/completions", json={"model": "trl-policy-v1", "prompt": PROMPT})
    assert gone.status_code == 404, gone.text
    return largest


def main():
    out = ROOT / "target/trl-out/doors"
    out.mkdir(parents=True, exist_ok=True)
    # Its logger wants one.
    PartialState(cpu=True)
    results = {}
    with backend(MODEL, "--weights-dir", str(out)) as url:
        client = VLLMClient(url, 60)
        client.wait_for_server_ready()
        info = client.get_server_info()
        assert info["lora_config"]["max_lora_rank"] >= RANK and info["lora_config"]["max_loras"] >= 6
        assert info["parallel_config"]["data_parallel_size"] == 1
        assert client.get_dtype() == "torch.float32" and client.get_max_model_len() == 128
        results["adapters"] = adapters(url, client, out)
        results["weights over the connection"] = weights(url, client)
    for what, largest in results.items():
        print(f"{what}: largest difference of a logprob {largest:.1e}")
    assert max(results.values()) < 1e-5, results
    print("all doors open")


if __name__ == "__main__":
    sys.exit(main())

"""A training that `xenoglot train export` writes, trained by TRL with our server for rollouts and rewards, and imported again.
Usage: see `run`."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from backend import ROOT, backend, get

MODEL = ROOT / "tests/fixtures/models/qwen3"
PROMPTS = [f"Hello {word}" for word in ("one", "two", "tree", "a b", "zoo", "Ana", "red", "sea")]


def xenoglot(*arguments):
    variables = {name: value for name, value in os.environ.items() if not name.startswith("XENOGLOT_")}
    subprocess.run([os.environ["XENOGLOT_BIN"], "train", *map(str, arguments)], check=True, env=variables)


def main():
    with tempfile.TemporaryDirectory() as folder, backend(MODEL) as url:
        folder = Path(folder)
        (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt, "wanted": "a"}) + "\n" for prompt in PROMPTS))
        check = {"type": "string_check", "name": "wanted", "operation": "like", "input": "{{ sample.output_text }}"}
        grader = {
            "type": "multi", "name": "reward", "calculate_output": "wanted + 0.5 * short",
            "graders": {"wanted": {**check, "reference": "{{ item.wanted }}"}, "short": {"type": "length", "name": "short", "max": 16, "cache": 8}},
        }
        method = {
            "grader": grader, "lora": {"r": 4, "alpha": 8}, "num_generations": 4, "max_prompt_length": 32, "max_completion_length": 16,
            "importance_sampling_mode": "token_truncate", "hyperparameters": {"batch_size": 2, "max_steps": 4, "learning_rate": 1e-2, "save_steps": 2},
        }
        training = {"model": str(MODEL), "training_file": str(folder / "prompts.jsonl"), "method": {"type": "reinforcement", "reinforcement": method}}
        (folder / "training.json").write_text(json.dumps(training))
        out = folder / "out"
        xenoglot("export", folder / "training.json", out)
        subprocess.run([sys.executable, str(out / "train.py")], check=True, env={**os.environ, "XENOGLOT_URL": url})
        version = get(f"{url}/server_info?config_format=json")["weight_version"]
        history = json.loads((out / "out/checkpoint-4/trainer_state.json").read_text())["log_history"]
        steps = [line for line in history if "reward" in line]
        for line in steps:
            names = ("reward", "rewards/wanted/mean", "rewards/short/mean", "sampling/sampling_logp_difference/max")
            print({name: line.get(name) for name in names})
            whole = line["rewards/wanted/mean"] + 0.5 * line["rewards/short/mean"]
            assert abs(line["reward"] - whole) < 1e-5, line
            assert line["sampling/sampling_logp_difference/max"] < 1e-5, line
        assert len(steps) == 4, steps
        assert version >= 4, version
        xenoglot("import", out / "out/model", folder / "adapter", "--model", MODEL)
        assert (folder / "adapter/adapter_model.safetensors").is_file()
        print(f"export: 4 steps by TRL, weight version {version}, the adapter is back")


if __name__ == "__main__":
    main()

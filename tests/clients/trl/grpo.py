"""GRPO by TRL's own GRPOTrainer in server mode, f32, on the CPU: what the server says of its tokens is held against what the
trainer computes for them, after every one of the weight syncs. Usage: see `run`."""

import json
import os
import sys
import warnings
from pathlib import Path

import torch
import xenoglot_rollouts
from backend import ROOT, backend, get
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

warnings.filterwarnings("ignore")

TEMPERATURE = 0.9
CASES = {
    "tiny": {
        "model": ROOT / "tests/fixtures/models/qwen3",
        "prompts": [f"Hello {word}" for word in ("one", "two", "tree", "a b", "zoo", "Ana", "red", "sea")],
        "steps": 12,
        "tokens": 24,
        "learning_rate": 1e-2,
    },
    "smollm2": {
        "model": Path(os.environ["XENOGLOT_MODELS"]) / "SmolLM2-135M-Instruct",
        "prompts": [f"Write a short sentence about {thing}." for thing in ("the sea", "bread", "a train", "snow", "a cat", "tea")],
        "steps": 10,
        "tokens": 32,
        "learning_rate": 1e-5,
    },
}
DIFFERENCE = "sampling/sampling_logp_difference"


class AttentionCheck:
    """How far transformers' two ways of attention are from each other on the tokens of every step."""

    def __init__(self, tokenizer):
        self.tokenizer, self.trainer, self.largest, self.sums, self.count = tokenizer, None, 0.0, 0.0, 0

    def __call__(self, prompts, completion_ids, **_):
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        usual, training = model.config._attn_implementation, model.training
        model.eval()
        for prompt, completion in zip(prompts, completion_ids, strict=True):
            ids = self.tokenizer(prompt)["input_ids"] + list(completion)
            both = [self.logprobs(model, way, ids, len(completion)) for way in ("eager", "sdpa")]
            difference = (both[0] - both[1]).abs()
            self.largest = max(self.largest, difference.max().item())
            self.sums, self.count = self.sums + difference.sum().item(), self.count + difference.numel()
        model.set_attn_implementation(usual)
        model.train(training)

    @torch.no_grad()
    def logprobs(self, model, way, ids, count):
        model.set_attn_implementation(way)
        logits = model(torch.tensor([ids])).logits[0, -count - 1 : -1] / TEMPERATURE
        return torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[-count:])[:, None])[:, 0]


def train(case, url, out):
    tokenizer = AutoTokenizer.from_pretrained(case["model"])
    model = AutoModelForCausalLM.from_pretrained(case["model"], dtype=torch.float32)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    attention = AttentionCheck(tokenizer)

    def reward(completions, **others):
        attention(**others)
        return [text.count("e") - 0.05 * len(text) for text in completions]

    arguments = GRPOConfig(
        output_dir=out,
        use_vllm=True,
        vllm_mode="server",
        vllm_server_base_url=url,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=case["tokens"],
        max_steps=case["steps"],
        learning_rate=case["learning_rate"],
        temperature=TEMPERATURE,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        seed=1,
    )
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=arguments,
        reward_funcs=reward,
        train_dataset=Dataset.from_dict({"prompt": case["prompts"] * 8}),
    )
    attention.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    moved = max((weight.detach() - before[name]).abs().max().item() for name, weight in model.named_parameters())
    return [entry for entry in trainer.state.log_history if f"{DIFFERENCE}/max" in entry], attention, moved


def main(name):
    case = CASES[name]
    xenoglot_rollouts.allow_cpu_trainers()
    out = ROOT / "target/trl-out" / name
    with backend(case["model"], "--kv-cache-memory", "512MiB") as url:
        steps, attention, moved = train(case, url, str(out))
        version = get(f"{url}/server_info")["weight_version"]
    print(f"\n{name}: {len(steps)} steps, weight version {version}, weights moved by up to {moved:.1e}\n")
    print("| step | reward | logprob difference, mean | max | ratio, min | max |\n|---|---|---|---|---|---|")
    for at, entry in enumerate(steps, 1):
        ratio = "sampling/importance_sampling_ratio"
        print(
            f"| {at} | {entry['reward']:.2f} | {entry[f'{DIFFERENCE}/mean']:.1e} | {entry[f'{DIFFERENCE}/max']:.1e} "
            f"| {entry[f'{ratio}/min']:.7f} | {entry[f'{ratio}/max']:.7f} |"
        )
    largest = max(entry[f"{DIFFERENCE}/max"] for entry in steps)
    mean = sum(entry[f"{DIFFERENCE}/mean"] for entry in steps) / len(steps)
    own, own_mean = attention.largest, attention.sums / attention.count
    print(f"\nours against TRL's forward: mean {mean:.2e}, max {largest:.2e}")
    print(f"transformers' eager against its sdpa, same tokens: mean {own_mean:.2e}, max {own:.2e}")
    (out / "summary.json").write_text(json.dumps({"mean": mean, "max": largest, "own_mean": own_mean, "own_max": own}))
    checks = {
        "a step for each asked": len(steps) == case["steps"],
        "a weight sync for each step": version >= case["steps"],
        "the weights moved": moved > 0,
        "mean below 1e-5": mean < 1e-5,
        "max below 1e-5": largest < 1e-5 if name == "tiny" else True,
        "max at most three times transformers' own": largest <= 3 * own if name != "tiny" else True,
    }
    failed = [what for what, holds in checks.items() if not holds]
    print("FAILED: " + "; ".join(failed) if failed else "all checks hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

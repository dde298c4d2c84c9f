"""Trains with TRL what `xenoglot train export` wrote beside this file. Prompts are sampled and graded by a Xenoglot server:

    XENOGLOT_URL    http://127.0.0.1:8000 unless said; it must be started as README.md says
    XENOGLOT_KEY    its admin key, if it has one

Started by accelerate, on one process or many: see launch.sh.
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
import torch
import xenoglot_rollouts
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

HERE = Path(__file__).resolve().parent
TRAINING = json.loads((HERE / "training.json").read_text())
GRADER = json.loads((HERE / "grader.json").read_text())
URL = os.environ.get("XENOGLOT_URL", "http://127.0.0.1:8000").rstrip("/")
GRADE = f"{URL}/v1/fine_tuning/alpha/graders/run"
THREADS = 16


class Graders:
    """What the server says of completions: the reward, and its parts, which TRL logs and does not count."""

    def __init__(self, ends, longest):
        self.ends = ends
        self.longest, self.graded = longest, {}
        self.session = requests.Session()
        self.session.mount(URL, requests.adapters.HTTPAdapter(pool_maxsize=THREADS))
        if key := os.environ.get("XENOGLOT_KEY"):
            self.session.headers["Authorization"] = f"Bearer {key}"

    def functions(self):
        parts = list(GRADER["graders"]) if GRADER["type"] == "multi" else []
        return [self.function("reward"), *map(self.function, parts)], [1.0] + [0.0] * len(parts)

    def function(self, name):
        def of(prompts, completions, completion_ids, item, trace_opened, **_):
            graded = self.all(completions, completion_ids, item, trace_opened)
            if name == "reward":
                return [one["reward"] for one in graded]
            return [one["metadata"]["scores"][name] for one in graded]

        of.__name__ = name
        return of

    def all(self, completions, ids, items, opened):
        """TRL asks each function in turn for the same completions: they are graded once."""
        key = json.dumps([completions, items])
        if key not in self.graded:
            with ThreadPoolExecutor(THREADS) as threads:
                self.graded = {key: list(threads.map(self.one, completions, ids, items, opened))}
        return self.graded[key]

    def one(self, completion, ids, item, opened):
        text = completion if isinstance(completion, str) else completion[0]["content"]
        is_cut = len(ids) >= self.longest and ids[-1] not in self.ends
        body = {"grader": GRADER, "model_sample": text, "item": json.loads(item), "completion_tokens": len(ids)}
        body |= {"finish_reason": "length" if is_cut else "stop", "trace_opened": opened}
        answer = self.session.post(GRADE, json=body, timeout=60)
        if answer.status_code != 200:
            raise RuntimeError(f"{GRADE}: {answer.status_code}: {answer.text}")
        graded = answer.json()
        if details := graded["metadata"]["errors"]["details"]:
            raise RuntimeError(f"a completion cannot be graded: {details}")
        return graded


def batches():
    """TRL counts completions a device; the training says completions an update."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    together = TRAINING["completions_per_update"]
    each, rest = divmod(together, world)
    if rest:
        sys.exit(f"{together} completions an update cannot be divided among {world} processes")
    at_once = int(os.environ.get("PER_DEVICE_TRAIN_BATCH_SIZE", "0")) or next(
        size for size in range(min(each, TRAINING["completions_at_once"]), 0, -1) if each % size == 0
    )
    if each % at_once:
        sys.exit(f"PER_DEVICE_TRAIN_BATCH_SIZE {at_once} does not divide the {each} completions that each process has an update")
    accumulation = each // at_once
    return {
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": accumulation,
        "steps_per_generation": accumulation * TRAINING["updates_per_generation"],
    }


def main():
    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        xenoglot_rollouts.allow_cpu_trainers()
    config = GRPOConfig(
        output_dir=str(HERE / "out"), use_vllm=True, vllm_mode="server", vllm_server_base_url=URL, use_cpu=on_cpu, log_completions=True,
        remove_unused_columns=False, report_to=os.environ.get("REPORT_TO", "none"), **batches(), **TRAINING["grpo"],
    )
    model = os.environ.get("MODEL", TRAINING["model"])
    tokenizer = AutoTokenizer.from_pretrained(model)
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16 if config.bf16 else torch.float32)
    ends = policy.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    functions, config.reward_weights = Graders(ends, config.max_completion_length).functions()
    trainer = GRPOTrainer(
        model=policy,
        args=config,
        processing_class=tokenizer,
        reward_funcs=functions,
        train_dataset=load_dataset("json", data_files=str(HERE / "prompts.jsonl"), split="train"),
        peft_config=LoraConfig(**TRAINING["lora"]) if TRAINING["lora"] else None,
    )
    trainer.train(resume_from_checkpoint=any((HERE / "out").glob("checkpoint-*")))
    trainer.save_model(str(HERE / "out/model"))


if __name__ == "__main__":
    main()

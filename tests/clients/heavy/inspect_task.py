"""A task of inspect-ai over our own questions: inspect eval inspect_task.py --model openai-api/xenoglot/MODEL"""

import json
import pathlib

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

SUITE = pathlib.Path(__file__).resolve().parents[3] / "eval-suites" / "xeno-word-problems" / "en.jsonl"


@task
def words():
    lines = [json.loads(line) for line in SUITE.read_text(encoding="utf-8").splitlines()][:10]
    samples = [Sample(input=line["problem"], target=line["answer"]) for line in lines]
    return Task(dataset=samples, solver=generate(), scorer=includes())

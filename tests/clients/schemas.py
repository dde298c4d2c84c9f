#!/usr/bin/env python3
"""500 JSON schemas of varied shape, asked of a server; every completion that ended must fit its schema.

usage: schemas.py URL SCHEMAS.jsonl [--model NAME] [--max-tokens N]

SCHEMAS.jsonl is what `xenoglot bench guide --write` makes. Needs `pip install jsonschema requests`. A completion that max_tokens cut is
counted apart: it is the beginning of a fitting text, and no JSON yet."""

import argparse
import concurrent.futures
import json

import jsonschema
import requests


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("schemas")
    parser.add_argument("--model")
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--at-once", type=int, default=32)
    arguments = parser.parse_args()
    schemas = [json.loads(line) for line in open(arguments.schemas, encoding="utf-8")]

    def ask(schema):
        body = {
            "messages": [{"role": "user", "content": "Fill in the form with short values."}],
            "max_tokens": arguments.max_tokens,
            "temperature": 0.7,
            "seed": 1,
            "response_format": {"type": "json_schema", "json_schema": {"name": "form", "schema": schema}},
        }
        if arguments.model:
            body["model"] = arguments.model
        answer = requests.post(f"{arguments.url}/v1/chat/completions", json=body, timeout=600)
        if answer.status_code != 200:
            return "refused", answer.text
        choice = answer.json()["choices"][0]
        if choice["finish_reason"] == "length":
            return "cut", None
        try:
            jsonschema.validate(json.loads(choice["message"]["content"]), schema)
        except (ValueError, jsonschema.ValidationError) as error:
            return "wrong", f"{schema}\n{choice['message']['content']}\n{error}"
        return "valid", None

    counts = {}
    with concurrent.futures.ThreadPoolExecutor(arguments.at_once) as pool:
        for outcome, why in pool.map(ask, schemas):
            counts[outcome] = counts.get(outcome, 0) + 1
            if why:
                print(outcome, why)
    print(json.dumps(counts))
    raise SystemExit(0 if set(counts) <= {"valid", "cut"} and counts.get("valid") else 1)


if __name__ == "__main__":
    main()

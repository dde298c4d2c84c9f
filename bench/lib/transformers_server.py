"""`POST /v1/completions` over transformers' `generate`, for the comparison only: token ids in, counts out.

Requests take turns, as `generate` does; the samples of one request are one batch. Runs in the peer's environment.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

import torch
from transformers import AutoModelForCausalLM

TURN = Lock()


def generate(model, request: dict) -> dict:
    """The completion and its usage; the tokens' text is of no interest here."""
    prompt = torch.tensor([request["prompt"]])
    tokens, samples = request["max_tokens"], request.get("n", 1)
    with TURN, torch.inference_mode():
        torch.manual_seed(request.get("seed", 0))
        output = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            temperature=request["temperature"],
            top_k=0,
            top_p=1.0,
            num_return_sequences=samples,
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            pad_token_id=0,
        )
    made = output[:, prompt.shape[1]:]
    choices = [{"index": index, "finish_reason": "length", "token_ids": row.tolist()} for index, row in enumerate(made)]
    usage = {"prompt_tokens": prompt.shape[1], "completion_tokens": made.numel()}
    return {"object": "text_completion", "choices": choices, "usage": usage}


def handler(model):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.answer(200 if self.path == "/health" else 404, {})

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                self.answer(200, generate(model, request))
            except (KeyError, ValueError, RuntimeError) as error:
                self.answer(500, {"error": {"message": str(error)}})

        def answer(self, status, body):
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_):
            pass

    return Handler


class Backlog(ThreadingHTTPServer):
    # All clients of a workload connect at once.
    request_queue_size = 256
    daemon_threads = True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dtype = {"bf16": torch.bfloat16, "f32": torch.float32}[arguments.dtype]
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype).eval()
    Backlog(("127.0.0.1", arguments.port), handler(model)).serve_forever()


if __name__ == "__main__":
    main()

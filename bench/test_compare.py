"""Tests of the comparison's pure parts, and of its rounds against a server in this process.

  python3 -m unittest discover -s bench
"""

import json
import sys
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lib import comparison, figures, vllm_cpu, workloads  # noqa: E402
from lib.client import body, measure  # noqa: E402
from lib.servers import Server  # noqa: E402


class Workloads(unittest.TestCase):
    def test_the_workloads_are_those_of_bench_engine(self):
        def check(name, requests, prompt_tokens, generated):
            made = workloads.workload(name)
            self.assertEqual((len(made.prompts), made.prompt_tokens(), made.generated()),
                             (requests, prompt_tokens, generated), name)

        check("a", 1, 200, 32 * 128)
        check("b", 1, 16, 256)
        check("c", 1, 2048, 1)
        check("mixed", 32, 13_585, 32 * 128)
        check("a:n=4", 1, 200, 4 * 128)
        check("a:context=8192", 1, 8192 - 128, 32 * 128)

    def test_prompts_are_those_of_bench_engine(self):
        self.assertEqual(workloads.prompt(3, 0, 0), [17, 7936, 15_855])
        firsts = {workloads.prompt(1, run, client)[0] for run in range(8) for client in range(32)}
        self.assertEqual(len(firsts), 8 * 32)

    def test_unknown_workloads_are_refused(self):
        for name in ("d", "b:n=2", "a:n=0", "a:n=x", "a:context=128", "a:tokens=3", ""):
            with self.assertRaises(ValueError, msg=name):
                workloads.workload(name)

    def test_growth_has_both_curves(self):
        names = workloads.growth()
        self.assertEqual((names[0], names[7], names[8], names[-1]),
                         ("a:n=1", "a:n=128", "a:context=256", "a:context=8192"))
        for name in names:
            workloads.workload(name)

    def test_prefill_counts_the_prompt(self):
        self.assertEqual(workloads.workload("c").counted_tokens(), 2048)
        self.assertEqual(workloads.workload("mixed").counted_tokens(), 4096)
        self.assertEqual(workloads.workload("a").first_token().generated(), 32)


class Figures(unittest.TestCase):
    def test_medians_and_ratios(self):
        ours, peer = figures.summary([3.0, 9.0, 6.0]), figures.summary([1.0, 2.0, 3.0, 4.0])
        self.assertEqual((ours["median"], ours["lowest"], ours["highest"]), (6.0, 3.0, 9.0))
        self.assertEqual(figures.ratio(ours, peer), 2.4)
        self.assertEqual(figures.ranged(ours), "**6** (3 - 9)")

    def test_a_failed_comparison_has_a_row(self):
        text = figures.markdown([comparison.failed("a", "ours:int8", "vllm:bf16", RuntimeError("no\nway"))])
        self.assertEqual(text.splitlines()[2], "| a | ours:int8 | vllm:bf16 | failed: no |  |  |  |  |  |")


class Install(unittest.TestCase):
    def test_vllm_goes_without_its_torch(self):
        metadata = "Name: vllm\nRequires-Dist: regex\nRequires-Dist: torch==2+cpu\nRequires-Dist: torchaudio\n" \
            "Requires-Dist: pandas; extra == \"bench\"\n"
        self.assertEqual(vllm_cpu.without_torch(metadata), ["regex"])


class Rounds(unittest.TestCase):
    """Against a server that counts honestly, or not."""

    def setUp(self):
        self.seen = []
        test = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                test.seen.append(request)
                generated = request["n"] * request["max_tokens"] - test.missing
                answer = {
                    "choices": [{"finish_reason": "length"}] * request["n"],
                    "usage": {"prompt_tokens": len(request["prompt"]), "completion_tokens": generated},
                }
                payload = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_):
                pass

        self.missing = 0
        # All clients connect at once.
        Backlog = type("Backlog", (ThreadingHTTPServer,), {"request_queue_size": 256})
        self.http = Backlog(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def tearDown(self):
        self.http.shutdown()
        self.http.server_close()

    def server(self, name):
        class Local(Server):
            def prepare(self, workload):
                pass

            def pause(self):
                pass

            resume = stop = pause

            def memory_bytes(self):
                return 1

        made = Local(name, Path("."), 2)
        made.port = self.http.server_port
        return made

    def test_both_sides_get_the_same_requests(self):
        chosen, options = workloads.workload("mixed"), comparison.Options(2, 1, 1)
        result = comparison.one(self.server("ours:x"), self.server("peer:x"), chosen, options)
        self.assertEqual(len(result["ours"]["tokens_per_second"]["runs"]), 2)
        self.assertEqual(len(result["peer"]["first_token_seconds"]["runs"]), 1)
        # Three rounds and one first token, 32 clients, two sides.
        self.assertEqual(len(self.seen), 4 * 32 * 2)
        prompts = [tuple(request["prompt"]) for request in self.seen]
        self.assertTrue(all(prompts.count(prompt) == 2 for prompt in set(prompts)))
        self.assertIn("| mixed | ours:x | peer:x |", figures.markdown([result]))

    def test_a_server_that_makes_fewer_tokens_is_found_out(self):
        self.missing = 1
        with self.assertRaisesRegex(RuntimeError, "instead of"):
            measure(self.server("peer:x"), workloads.workload("b"), 0)

    def test_seeds_are_sent_where_they_cost_nothing(self):
        chosen = workloads.workload("a")
        self.assertIn("seed", body(self.server("x"), chosen, 3, 0))
        unseeded = SimpleNamespace(model_name="m", sends_seed=False, extra_fields={"extra": 1})
        sent = body(unseeded, chosen, 3, 0)
        self.assertNotIn("seed", sent)
        self.assertEqual((sent["n"], sent["temperature"], sent["extra"]), (32, 1.0, 1))


if __name__ == "__main__":
    unittest.main()

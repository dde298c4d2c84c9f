"""Ten times more than the server takes, for minutes, by clients that hang up at random; a batch runs beside them.

Every request must have an answer, rejections must be quick, memory must stop growing, KV blocks and the queue must be empty
afterwards, and no line of the batch may be lost or doubled.
Usage: overload.py URL MODEL KEY SERVER_PID CLIENTS SECONDS
"""

import asyncio
import json
import random
import sys
import time
import urllib.parse
import urllib.request

URL, MODEL, KEY, PID, CLIENTS, SECONDS = sys.argv[1:]
PID, CLIENTS, SECONDS = int(PID), int(CLIENTS), float(SECONDS)
HOST = urllib.parse.urlsplit(URL)
BATCH_LINES = 200
REJECTION_P99_MS = 50
GROWTH = 1.10
#: Nothing takes longer than this, unless it is lost.
PATIENCE = 120


class Counts:
    def __init__(self):
        self.answered = self.hung_up = self.rejected = 0
        self.wrong, self.rejections_ms = [], []


async def request(body, counts, hang_up_after):
    """One connection, one request; `hang_up_after` seconds the client goes, whatever came."""
    reader, writer = await asyncio.open_connection(HOST.hostname, HOST.port)
    try:
        payload = json.dumps(body).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST.netloc}\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\nConnection: close\r\n\r\n"
        )
        started = time.perf_counter()
        writer.write(head.encode() + payload)
        await writer.drain()

        async def answer():
            status = int((await reader.readline()).split()[1])
            if status == 429:
                counts.rejections_ms.append((time.perf_counter() - started) * 1000)
            return status, await reader.read()

        try:
            status, text = await asyncio.wait_for(answer(), hang_up_after or PATIENCE)
        except TimeoutError:
            if hang_up_after is None:
                counts.wrong.append("no answer")
            else:
                counts.hung_up += 1
            return None
        if status == 429:
            counts.rejected += 1
        elif status == 200 and (b"[DONE]" in text if body["stream"] else b"finish_reason" in text):
            counts.answered += 1
        else:
            counts.wrong.append(f"{status}: {text[-200:]!r}")
        return status
    finally:
        writer.close()


async def client(seed, counts, until):
    dice = random.Random(seed)
    await asyncio.sleep(dice.random())
    while time.perf_counter() < until:
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"Tell me of the number {dice.randrange(10**6)}."}],
            "max_tokens": dice.choice([8, 24, 48]),
            "n": dice.choice([1, 1, 1, 4]),
            "stream": dice.random() < 0.5,
            "ignore_eos": True,
        }
        hang_up_after = dice.random() * 3 if dice.random() < 0.3 else None
        status = await request(body, counts, hang_up_after)
        if status == 429:
            await asyncio.sleep(dice.random() * 2)


def call(path, data=None, kind="application/json"):
    asked = urllib.request.Request(URL + path, data=data, headers={"Authorization": f"Bearer {KEY}", "Content-Type": kind})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return answer.read()


def begin_batch():
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "ignore_eos": True}
    line = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    lines = "".join(json.dumps({"custom_id": f"line-{at}", **line}) + "\n" for at in range(BATCH_LINES))
    edge = "edge-of-parts"
    form = (
        f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="b.jsonl"\r\n\r\n{lines}\r\n--{edge}--\r\n'
    )
    file = json.loads(call("/v1/files", form.encode(), f"multipart/form-data; boundary={edge}"))
    batch = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return json.loads(call("/v1/batches", json.dumps(batch).encode()))["id"]


def metric(name):
    lines = call("/metrics").decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"xenoglot_{name}{{"))


def resident_mib():
    with open(f"/proc/{PID}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


async def watch(memory, until):
    while time.perf_counter() < until:
        memory.append(resident_mib())
        await asyncio.sleep(1)


async def main():
    counts, memory = Counts(), []
    batch = begin_batch()
    until = time.perf_counter() + SECONDS
    await asyncio.gather(watch(memory, until), *(client(seed, counts, until) for seed in range(CLIENTS)))
    for _ in range(120):
        state = json.loads(call(f"/v1/batches/{batch}"))
        if state["status"] not in ("validating", "in_progress", "finalizing"):
            break
        await asyncio.sleep(1)
    await asyncio.sleep(2)
    lines = [json.loads(line) for line in call(f"/v1/files/{state['output_file_id']}/content").splitlines()]
    ids = sorted(line["custom_id"] for line in lines if line["response"]["status_code"] == 200)
    left = {name: metric(name) for name in ("kv_blocks_in_use", "num_requests_running", "num_requests_waiting")}
    rejections = sorted(counts.rejections_ms)
    p99 = rejections[int(len(rejections) * 0.99)] if rejections else 0.0
    third = len(memory) // 3
    early, late = max(memory[:third]), max(memory[2 * third :])
    print(
        f"{CLIENTS} clients, {SECONDS:.0f} s: {counts.answered} answered, {counts.rejected} rejected, {counts.hung_up} hung up, "
        f"{len(counts.wrong)} wrong {counts.wrong[:3]}\nrejections: median {rejections[len(rejections) // 2]:.1f} ms, "
        f"p99 {p99:.1f} ms\nresident: {early:.0f} MiB at most in the first third, {late:.0f} in the last\n"
        f"batch: {state['status']}, {len(ids)} of {BATCH_LINES} lines; left: {left}"
    )
    assert not counts.wrong and counts.rejected > counts.answered, "an overload, and every request has its answer"
    assert p99 < REJECTION_P99_MS, "a rejection is quick"
    assert late <= early * GROWTH, "memory stops growing"
    assert ids == sorted(f"line-{at}" for at in range(BATCH_LINES)), "a line is lost or doubled"
    assert not any(left.values()), "nothing is left"


asyncio.run(main())

"""The rest of OpenAI's surface as openai-python sees it: forms, tools, responses, embeddings, batches; and the language of thinking."""

import json
import math
import os
import time

import pytest
from conftest import MODEL
from pydantic import BaseModel

QUESTION = [{"role": "user", "content": "Name a city and the number of its inhabitants."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}


class City(BaseModel):
    name: str
    inhabitants: int


def test_a_pydantic_model_is_parsed(client):
    answer = client.chat.completions.parse(
        model=MODEL, messages=QUESTION, response_format=City, max_tokens=120, temperature=0
    )
    assert isinstance(answer.choices[0].message.parsed, City)
    assert answer.choices[0].finish_reason == "stop"


def test_a_choice_and_an_expression(client):
    def ask(**form):
        answer = client.chat.completions.create(
            model=MODEL, messages=QUESTION, max_tokens=30, n=3, temperature=1.2, extra_body={"structured_outputs": form}
        )
        return [choice.message.content for choice in answer.choices]

    assert set(ask(choice=["Lagos", "京都"])) <= {"Lagos", "京都"}
    assert all(text.startswith("city-") and text[5:].isdigit() for text in ask(regex="city-[0-9]{3}"))


def test_a_tool_is_called_and_its_result_is_read(client):
    messages = [{"role": "user", "content": "What is the weather in Nairobi?"}]
    first = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[WEATHER], tool_choice="required", max_tokens=120, temperature=0,
        parallel_tool_calls=False,
    )
    assert first.choices[0].finish_reason == "tool_calls"
    call = first.choices[0].message.tool_calls[0]
    assert call.function.name == "weather"
    assert set(json.loads(call.function.arguments)) == {"city", "unit"}
    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "21 degrees, sunny"}]
    second = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER], max_tokens=40, temperature=0)
    assert second.choices[0].message.content or second.choices[0].message.tool_calls


def test_a_streamed_call_adds_up(client):
    ask = dict(
        model=MODEL, messages=QUESTION, tools=[WEATHER], max_tokens=120, temperature=0, parallel_tool_calls=False,
        tool_choice={"type": "function", "function": {"name": "weather"}},
    )
    whole = client.chat.completions.create(**ask).choices[0].message.tool_calls[0]
    name, arguments = None, ""
    for chunk in client.chat.completions.create(**ask, stream=True):
        for delta in chunk.choices[0].delta.tool_calls or []:
            assert delta.index == 0
            name = name or delta.function.name
            arguments += delta.function.arguments or ""
    assert (name, arguments) == (whole.function.name, whole.function.arguments)


def test_responses_are_created_streamed_parsed_and_gone_on_with(client):
    ask = dict(model=MODEL, input="What is the capital of France? Answer in one sentence.", max_output_tokens=24, temperature=0)
    whole = client.responses.create(**ask)
    assert "Paris" in whole.output_text
    with client.responses.stream(**ask) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert {"response.created", "response.output_text.delta", "response.output_item.done"} <= kinds
    assert final.output_text == whole.output_text
    assert client.responses.retrieve(whole.id).output_text == whole.output_text
    more = client.responses.create(model=MODEL, input="And of Italy?", previous_response_id=whole.id, max_output_tokens=24)
    assert more.usage.input_tokens > whole.usage.input_tokens
    parsed = client.responses.parse(model=MODEL, input="Name a city.", text_format=City, max_output_tokens=120)
    assert isinstance(parsed.output_parsed, City)
    client.responses.delete(whole.id)


def test_the_language_of_thinking(client):
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=40, temperature=0, extra_body={"reasoning_language": "es"}
    )
    language = answer.model_extra["language"]
    assert language["target"] == "es" and isinstance(language["following"], bool)
    *_, before, last = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=40, temperature=0, stream=True,
        stream_options={"include_usage": True}, extra_body={"reasoning_language": "es"},
    )
    assert before.model_extra["language"] == language
    assert last.usage is not None


def test_embeddings(start):
    encoder = os.path.join(os.environ["XENOGLOT_MODELS"], "multilingual-e5-small")
    if not os.path.exists(os.path.join(encoder, "config.json")):
        pytest.skip(f"{encoder} is not there: run scripts/fetch-models")
    client = start("--embedding-models", f"e5={encoder}").client()
    texts = ["query: a cat", "query: un gato", "query: the parliament"]
    # By default the client asks for base64 and decodes it.
    vectors = [item.embedding for item in client.embeddings.create(model="e5", input=texts).data]
    floats = [item.embedding for item in client.embeddings.create(model="e5", input=texts, encoding_format="float").data]
    assert all(math.isclose(a, b, abs_tol=1e-7) for one, other in zip(vectors, floats) for a, b in zip(one, other))
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))
    assert math.isclose(dot(vectors[0], vectors[0]), 1, abs_tol=1e-5)
    assert dot(vectors[0], vectors[1]) > dot(vectors[0], vectors[2])


def test_a_batch(start, tmp_path):
    client = start("--admin-key", "sk-admin").client("sk-admin")
    lines = [
        {
            "custom_id": f"l{at}", "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": MODEL, "messages": QUESTION, "max_tokens": 8, "seed": at, **({"n": 0} if at == 2 else {})},
        }
        for at in range(6)
    ]
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    file = client.files.create(file=path.open("rb"), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    end = time.monotonic() + 60
    while batch.status not in ("completed", "failed") and time.monotonic() < end:
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed"
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (6, 5, 1)
    output = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert [line["custom_id"] for line in output] == ["l0", "l1", "l3", "l4", "l5"]
    errors = [json.loads(line) for line in client.files.content(batch.error_file_id).text.splitlines()]
    assert errors[0]["custom_id"] == "l2" and errors[0]["response"]["body"]["error"]["param"] == "n"

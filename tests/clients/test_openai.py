"""What openai-python sees when all goes well."""

import re

import pytest
from conftest import MODEL

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


def ask(client, **more):
    return client.chat.completions.create(**{"model": MODEL, "messages": QUESTION, "max_tokens": 24, "seed": 1, **more})


def test_models(client):
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).max_model_len == 2048


def test_chat(client):
    answer = ask(client, temperature=0)
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert isinstance(answer.created, int)
    assert answer.object == "chat.completion"


def test_content_parts_and_roles(client):
    plain = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The capital\nof France?"}]
    texts = [{"type": "text", "text": text} for text in ("The capital", "of France?")]
    parts = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": texts}]
    one, other = (ask(client, messages=messages, temperature=0) for messages in (plain, parts))
    assert one.choices[0].message.content == other.choices[0].message.content


def test_an_answer_can_be_sent_back_as_it_came(client):
    first = ask(client, temperature=0)
    messages = [*QUESTION, first.choices[0].message, {"role": "user", "content": "And of Italy?"}]
    assert ask(client, messages=messages, temperature=0).choices[0].message.content


def test_a_stream_equals_the_whole(client):
    whole = ask(client, n=2, temperature=1)
    texts, roles, ends, usage = ["", ""], [None, None], [None, None], None
    for chunk in ask(client, n=2, temperature=1, stream=True, stream_options={"include_usage": True}):
        if chunk.usage:
            usage = chunk.usage
            assert chunk.choices == []
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            roles[choice.index] = roles[choice.index] or choice.delta.role
            ends[choice.index] = choice.finish_reason or ends[choice.index]
    assert texts == [choice.message.content for choice in whole.choices]
    assert ends == [choice.finish_reason for choice in whole.choices]
    assert roles == ["assistant", "assistant"]
    # The second request finds the first one's prompt in the cache; all else is equal.
    exclude = {"prompt_tokens_details"}
    assert usage.model_dump(exclude=exclude) == whole.usage.model_dump(exclude=exclude)


def test_a_stream_without_include_usage_has_none(client):
    chunks = list(ask(client, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"


def test_stream_helper(client):
    with client.chat.completions.stream(model=MODEL, messages=QUESTION, max_tokens=24, temperature=0) as stream:
        for _ in stream:
            pass
        assert "Paris" in stream.get_final_completion().choices[0].message.content


def test_n_differs_within_and_repeats_across(client):
    first = [choice.message.content for choice in ask(client, n=4, temperature=1.3).choices]
    again = [choice.message.content for choice in ask(client, n=4, temperature=1.3).choices]
    assert len(set(first)) > 1
    assert first == again


@pytest.mark.parametrize("seed", [0, 1, -5, 2**31, 2**62, 2**63 - 1])
def test_equal_seeds_give_equal_text(client, seed):
    texts = {ask(client, seed=seed, temperature=1).choices[0].message.content for _ in range(2)}
    assert len(texts) == 1


def test_logprobs(client):
    answer = ask(client, logprobs=True, top_logprobs=3, temperature=0).choices[0]
    content = answer.logprobs.content
    assert "".join(token.token for token in content).startswith(answer.message.content)
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert bytes(token.bytes).decode(errors="replace") == token.token
        assert token.top_logprobs[0].logprob == token.logprob, "greedy takes the likeliest"


def test_stop_strings(client):
    free = ask(client, temperature=0).choices[0].message.content
    stop = free.split()[2]
    answer = ask(client, temperature=0, stop=[stop, "never seen"]).choices[0]
    assert answer.message.content == free[: free.index(stop)]
    assert (answer.finish_reason, answer.stop_reason) == ("stop", stop)
    kept = ask(client, temperature=0, stop=stop, extra_body={"include_stop_str_in_output": True}).choices[0]
    assert kept.message.content.endswith(stop)


def test_a_stop_string_across_cjk(client):
    """The model spells most CJK characters with several tokens: a stop string begins and ends in steps of their own."""
    text = "东京是日本的首都。北京是中国的首都。"
    messages = [{"role": "user", "content": f"Repeat exactly: {text}"}]
    options = {"messages": messages, "temperature": 0, "max_tokens": 60}
    free = ask(client, **options).choices[0].message.content
    cjk = re.findall(r"[\u3001-\u9fff]{3,}", free)[0]
    for stop in [cjk[0], cjk[1], cjk[:2], cjk[1:3], cjk]:
        chunks = list(ask(client, **options, stop=["never seen", stop], stream=True))
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert said == free[: free.index(stop)]
        end = chunks[-1].choices[0]
        assert (end.finish_reason, end.stop_reason) == ("stop", stop)


def test_completion_shapes(client):
    ids = [504, 3575, 282]
    for prompt, count in [("The capital", 1), (["The capital", "A dog"], 2), (ids, 1), ([ids, ids[:2]], 2)]:
        answer = client.completions.create(model=MODEL, prompt=prompt, max_tokens=4, n=2, seed=3)
        assert [choice.index for choice in answer.choices] == list(range(2 * count))
        assert answer.object == "text_completion"


def test_echo_scores_the_prompt(client):
    """What lm-eval relies on: prompt + 1 entries, the first null; greedy is the likeliest."""
    ids = [504, 3575, 282, 4649, 314]
    answer = client.completions.create(model=MODEL, prompt=[ids], max_tokens=1, temperature=0, logprobs=1, echo=True)
    logprobs = answer.choices[0].logprobs
    assert len(logprobs.token_logprobs) == len(ids) + 1 == len(logprobs.tokens)
    assert logprobs.token_logprobs[0] is None
    top = logprobs.top_logprobs[-1]
    assert max(top.values()) == logprobs.token_logprobs[-1]


def test_token_ids_come_back(client):
    ids = [504, 3575, 282]
    extra = {"return_token_ids": True, "return_tokens_as_token_ids": True, "top_k": 0, "min_p": 0.0}
    answer = client.completions.create(model=MODEL, prompt=[ids], max_tokens=5, n=2, logprobs=0, extra_body=extra)
    for choice in answer.choices:
        assert choice.prompt_token_ids == ids
        assert choice.logprobs.tokens == [f"token_id:{token}" for token in choice.token_ids]


def test_ignore_eos_gives_exact_counts(client):
    answer = ask(client, max_tokens=37, extra_body={"ignore_eos": True})
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (37, "length")


def test_min_tokens(client):
    answer = ask(client, max_tokens=60, temperature=0, extra_body={"min_tokens": 50})
    assert answer.usage.completion_tokens >= 50


def test_continue_final_message(client):
    messages = [*QUESTION, {"role": "assistant", "content": "The capital of France is"}]
    extra = {"continue_final_message": True, "add_generation_prompt": False}
    answer = ask(client, messages=messages, temperature=0, extra_body=extra)
    assert answer.choices[0].message.content.startswith(" Paris")


def test_fields_that_change_nothing_are_taken(client):
    ask(client, user="u", store=False, metadata={"a": "b"}, service_tier="auto", parallel_tool_calls=True)

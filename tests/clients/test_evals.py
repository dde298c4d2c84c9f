"""Evaluations through openai-python: its own calls, with a suite for a data source."""

import time

import openai
import pytest
from conftest import MODEL

SUITE = "xeno-word-problems"
SOURCE = {
    "type": "xenoglot_suite",
    "model": MODEL,
    "languages": ["en"],
    "limit": 1,
    "n": 2,
    "sampling_params": {"temperature": 0.6, "max_completion_tokens": 16, "seed": 1},
}


@pytest.fixture
def evaluation(client):
    config = {"type": "xenoglot_suite", "suite": SUITE}
    made = client.evals.create(name="words", data_source_config=config, testing_criteria=[], metadata={"team": "a"})
    yield made
    client.evals.delete(made.id)


def finished(client, evaluation, run):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        run = client.evals.runs.retrieve(run.id, eval_id=evaluation.id)
        if run.status not in ("queued", "in_progress"):
            return run
        time.sleep(0.2)
    raise AssertionError(f"still {run.status}")


def test_an_evaluation_is_made_run_and_read(client, evaluation):
    assert evaluation.metadata == {"team": "a"}
    assert evaluation.id in [one.id for one in client.evals.list(limit=1)]
    run = client.evals.runs.create(evaluation.id, name="first", data_source=SOURCE)
    run = finished(client, evaluation, run)
    assert (run.status, run.error, run.result_counts.total) == ("completed", None, 2)
    assert run.per_model_usage[0].run_model_name == MODEL
    scores = run.to_dict()["xenoglot"]["scores"]
    assert scores["overall"]["samples"] == 2
    items = list(client.evals.runs.output_items.list(run.id, eval_id=evaluation.id, limit=1))
    assert len(items) == 2, "the client pages by itself"
    item = client.evals.runs.output_items.retrieve(items[0].id, eval_id=evaluation.id, run_id=run.id)
    assert item.sample.output[0].role == "assistant"
    assert item.sample.input[-1].role == "user"
    assert [one.id for one in client.evals.runs.list(evaluation.id, status="completed")] == [run.id]
    assert client.evals.runs.delete(run.id, eval_id=evaluation.id).deleted


def test_a_run_is_canceled(client, evaluation):
    source = {**SOURCE, "limit": 40, "n": 8, "sampling_params": {"max_completion_tokens": 512}}
    run = client.evals.runs.create(evaluation.id, data_source=source)
    assert client.evals.runs.cancel(run.id, eval_id=evaluation.id).status == "canceled"
    assert client.evals.update(evaluation.id, name="other").name == "other"


def test_what_cannot_be_run_is_refused(client, evaluation):
    with pytest.raises(openai.BadRequestError) as refused:
        client.evals.runs.create(evaluation.id, data_source={**SOURCE, "n": 0})
    assert refused.value.param == "data_source.n"
    with pytest.raises(openai.NotFoundError):
        client.evals.retrieve("eval_none")

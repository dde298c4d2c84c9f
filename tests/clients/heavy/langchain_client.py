"""LangChain's ChatOpenAI as a black box. Usage: langchain_client.py URL MODEL"""

import importlib.metadata
import sys

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

url, model = sys.argv[1:]


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return "sunny"


chat = ChatOpenAI(base_url=f"{url}/v1", api_key="none", model=model, temperature=0, max_tokens=120)
assert "Paris" in chat.invoke("What is the capital of France? Answer in one sentence.").content
assert "Paris" in "".join(chunk.content for chunk in chat.stream("What is the capital of France? Answer in one sentence."))
assert isinstance(chat.with_structured_output(City, method="json_schema").invoke("Name a city."), City)
assert isinstance(chat.with_structured_output(City, method="function_calling").invoke("Name a city."), City)
called = chat.bind_tools([weather], tool_choice="weather").invoke("What is the weather in Nairobi?")
assert called.tool_calls[0]["name"] == "weather", called
assert len(chat.batch(["One?", "Two?", "Three?"])) == 3
print(f"langchain-openai {importlib.metadata.version('langchain-openai')}: invoke, stream, both structured outputs, tools, batch: ok")

"""See the package."""

from vllm import _ServerOnly


class StructuredOutputsParams(_ServerOnly):
    """Not here."""

"""The names that TRL imports from vLLM. There is no engine here: `xenoglot serve --rollout-backend` is a process of its own."""

__version__ = "0.31.0"


class _ServerOnly:
    def __init__(self, *_args, **_options):
        name = type(self).__name__
        raise NotImplementedError(
            f"vllm.{name} is not part of xenoglot-rollouts, which has no engine: set vllm_mode='server' and start "
            "`xenoglot serve --rollout-backend`"
        )


class LLM(_ServerOnly):
    """Not here."""


class RequestOutput(_ServerOnly):
    """Not here."""


class SamplingParams(_ServerOnly):
    """Not here."""

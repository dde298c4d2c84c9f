"""Training with TRL against `xenoglot serve --rollout-backend`. The names that TRL imports are in `vllm`, beside this package."""


def allow_cpu_trainers():
    """Lets a trainer without CUDA synchronise its weights, which TRL refuses, for NCCL cannot. Where there is CUDA, nothing
    changes."""
    import torch
    from trl.generation.vllm_client import VLLMClient

    if torch.cuda.is_available() or getattr(VLLMClient.init_communicator, "_for_cpu", False):
        return
    original = VLLMClient.init_communicator

    def init_communicator(self, device=0):
        # A device without an index is only looked at, never set.
        return original(self, torch.device("cuda"))

    init_communicator._for_cpu = True
    VLLMClient.init_communicator = init_communicator

"""The fixed workloads as requests, the same ones as `xenoglot bench engine` makes (src/cli/bench/workload.rs).

Prompts are token ids: every server computes the very same tokens, whatever its tokenizer adds to a text. What they
mean does not change the work. Each round has prompts of its own, so that no prefix cache helps, except within one
request with several samples, which is the point of workload A.
"""

from dataclasses import dataclass, replace

A_PROMPT = 200
CLIENTS = 32
SHORTEST, LONGEST = 50, 800
VOCABULARY = 49_152

NAMES = ["a", "b", "c", "mixed"]
GROWTH_SAMPLES = [1, 2, 4, 8, 16, 32, 64, 128]
GROWTH_CONTEXT = [256, 512, 1024, 2048, 4096, 8192]


@dataclass(frozen=True)
class Workload:
    name: str
    prompts: tuple[int, ...]
    samples: int
    tokens: int
    # "generated": the tokens made, over the whole time. "prompt": the prompt's tokens, over the whole time.
    counted: str = "generated"

    def prompt_tokens(self) -> int:
        return sum(self.prompts)

    def generated(self) -> int:
        return len(self.prompts) * self.samples * self.tokens

    def counted_tokens(self) -> int:
        return self.prompt_tokens() if self.counted == "prompt" else self.generated()

    def sequences(self) -> int:
        """Sequences that run at once."""
        return len(self.prompts) * self.samples

    def context(self) -> int:
        """The longest sequence."""
        return max(self.prompts) + self.tokens

    def first_token(self) -> "Workload":
        """The same, up to the first token."""
        return replace(self, tokens=1)


def mixed_prompts() -> tuple[int, ...]:
    """Evenly spread lengths, out of order: 13 has no factor in common with 32, so each length comes once."""
    span = LONGEST - SHORTEST
    return tuple(SHORTEST + (client * 13 % CLIENTS) * span // (CLIENTS - 1) for client in range(CLIENTS))


def workload(name: str) -> Workload:
    """A workload by its name: a, b, c, mixed; a:n=8 and a:context=512 are points of the curves of growth."""
    usual = {
        "a": Workload("a", (A_PROMPT,), 32, 128),
        "b": Workload("b", (16,), 1, 256),
        "c": Workload("c", (2048,), 1, 1, counted="prompt"),
        "mixed": Workload("mixed", mixed_prompts(), 1, 128),
    }
    base, _, change = name.partition(":")
    if base not in usual:
        raise ValueError(f"no workload `{name}`: there are {', '.join(NAMES)}, a:n=N and a:context=N")
    chosen = replace(usual[base], name=name)
    if not change:
        return chosen
    key, _, value = change.partition("=")
    if base != "a" or key not in ("n", "context") or not value.isdigit() or int(value) < 1:
        raise ValueError(f"workload `{name}`: only a:n=N and a:context=N change a workload")
    if key == "n":
        return replace(chosen, samples=int(value))
    if int(value) <= chosen.tokens:
        raise ValueError(f"workload `{name}`: {chosen.tokens} tokens are generated, so no prompt is left")
    return replace(chosen, prompts=(int(value) - chosen.tokens,))


def growth(samples_max: int = 128, context_max: int = 8192) -> list[str]:
    """The points of both curves of growth."""
    samples = [f"a:n={n}" for n in GROWTH_SAMPLES if n <= samples_max]
    return samples + [f"a:context={n}" for n in GROWTH_CONTEXT if n <= context_max]


def prompt(tokens: int, run: int, client: int, vocabulary: int = VOCABULARY) -> list[int]:
    """Ids spread over the vocabulary, other ones for each run and client."""
    start = run * 104_729 + client * 15_485_863 + 17
    return [(at * 7919 + start) % 2**32 % vocabulary for at in range(tokens)]

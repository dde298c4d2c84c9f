"""Medians, ranges and ratios, and how they are printed. Pure."""

from statistics import median


def summary(values: list[float]) -> dict:
    """Median and range."""
    return {"median": median(values), "lowest": min(values), "highest": max(values), "runs": values}


def ratio(ours: dict, peer: dict) -> float:
    """Of medians: how many times the peer's figure ours is."""
    return ours["median"] / peer["median"]


def ranged(figure: dict, digits: int = 0) -> str:
    return f"**{figure['median']:.{digits}f}** ({figure['lowest']:.{digits}f} - {figure['highest']:.{digits}f})"


def megabytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:,.0f} MB"


def milliseconds(figure: dict | None) -> str:
    return "-" if figure is None else f"{figure['median'] * 1e3:,.0f} ms"


COLUMNS = [
    "workload", "ours", "peer", "ours tok/s", "peer tok/s", "ratio", "first token (ours, peer)",
    "memory (ours, peer)", "client CPU",
]


def row(result: dict) -> list[str]:
    """One comparison as the cells of its row."""
    ours, peer = result["ours"], result["peer"]
    if "error" in result:
        return [result["workload"], ours["name"], peer["name"], result["error"].splitlines()[0], *[""] * 5]
    return [
        result["workload"],
        ours["name"],
        peer["name"],
        ranged(ours["tokens_per_second"]),
        ranged(peer["tokens_per_second"]),
        f"**{result['ratio']:.2f}**",
        f"{milliseconds(ours['first_token_seconds'])}, {milliseconds(peer['first_token_seconds'])}",
        f"{megabytes(ours['memory_bytes'])}, {megabytes(peer['memory_bytes'])}",
        f"{result['client_cpu_share'] * 100:.1f} %",
    ]


def markdown(results: list[dict]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(row(result)) + " |" for result in results]
    return "\n".join(lines)

"""The tables of docs/azure.md, from the rows that decide what is done. `python -m kobune.aks.arm.documentation` prints them."""

from kobune.aks.arm.features import ACCEPTED, CLUSTER_REFUSED, POOL_REFUSED
from kobune.aks.arm.routes import OPERATIONS, C, G, L, P, S

_SHORT = (("{P}", P), ("{C}", C), ("{L}", L), ("{G}", G), ("{S}", S))


def operations_table() -> str:
    """One line for each call."""
    lines = ["| Call | Path | Effect |", "|---|---|---|"]
    for row in OPERATIONS:
        effect = f"{row.effect.value}: {row.note}" if row.note else row.effect.value
        lines.append(f"| {row.title} | `{row.method} {_shortened(row.path)}` | {effect} |")
    return "\n".join(lines)


def features_table() -> str:
    """What is kept without effect, and what is refused."""
    lines = ["| Property | What becomes of it | |", "|---|---|---|"]
    lines += [f"| `{row.path}` | accepted without effect | {row.why} |" for row in ACCEPTED]
    lines += [f"| cluster `{row.path}` | refused | {row.feature} |" for row in CLUSTER_REFUSED]
    lines += [f"| pool `{row.path}` | refused | {row.feature} |" for row in POOL_REFUSED]
    return "\n".join(lines)


def _shortened(path: str) -> str:
    for short, long in _SHORT:
        if path.startswith(long):
            return short + path.removeprefix(long)
    return path


if __name__ == "__main__":
    print(operations_table(), features_table(), sep="\n\n")

"""The paper's figures, from published.toml."""

import tomllib
from functools import cache
from pathlib import Path


@cache
def published_table(name: str) -> list[dict]:
    """One of its tables."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text())[name]


def published(table: str, facts: dict, **keys: object) -> float | None:
    """The figure of a network, of CIFAR-10 unless another data set is given; None if none is."""
    wanted = {"dataset": "cifar10", "sigma": facts["sigma"]} | keys
    wanted["architecture"] = facts["architecture"].removeprefix("cifar_")
    for row in published_table(table):
        if all(row[key] == value for key, value in wanted.items()):
            return row.get(facts["network"].partition("-")[0])
    return None

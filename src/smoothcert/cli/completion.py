"""What the Tab key offers for options whose values have names; see `vocabulary`."""

from collections.abc import Callable


def among(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    """For `typer.Option(autocompletion=...)`: those names that begin with what is written."""

    def offered(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return offered

"""What every logger records at the end."""

from smoothcert.summary import Summary


def final(summary: Summary) -> dict[str, float]:
    """The figures of a summary by name, without unknown ones."""
    accuracy = {f"final/certified_accuracy/{radius:g}": share for radius, share in summary.accuracy}
    figures = {
        "final/acr": summary.acr,
        **accuracy,
        "final/certified": summary.certified / summary.inputs,
        "final/zeta": summary.zeta,
        "final/evaluations": summary.evaluations,
        "final/seconds": summary.seconds,
        "final/alpha": summary.alpha,
        "final/unlabelled": summary.unlabelled or None,
    }
    return {name: value for name, value in figures.items() if value is not None}

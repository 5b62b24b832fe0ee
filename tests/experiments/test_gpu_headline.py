"""The votes collected on a GPU are read as they were counted."""

import sys
from pathlib import Path

import numpy as np

from smoothcert import Votes
from smoothcert.methods import scratch

sys.path.append(str(Path(__file__).parents[2] / "experiments" / "gpu"))
import headline


def test_stored_votes_give_the_certificates_of_their_run():
    """ACR and changed labels as the run itself had them; a shifted difference would show."""
    collected = headline.Collected.read(headline.VOTES)
    original, new = (collected.labels[name] for name in ("original", "int8-weights"))
    assert original.shape == new.shape == (100, 100_100)
    assert (original != new).mean() == 0.008425574425574426
    for network, acr in (("original", 0.37437), ("int8-weights", 0.37280)):
        whole = collected.recorded(network)
        radii = [c.radius for c in whole.certification.certificates]
        right = [c.predicted for c in whole.certification.certificates] == whole.classes
        assert abs(np.where(right, radii, 0).mean() - acr) < 1e-5


def test_draws_that_are_fresh_are_none_of_those_replayed():
    recorded = headline.Collected.read(headline.VOTES).recorded("int8-weights")
    index = recorded.certification.certificates[0].index
    votes = recorded.certification.records[0].votes
    assert (recorded.fresh[index][:1000] == votes.estimation[-1000:][::-1]).all()
    again = scratch.certificate(
        index,
        "",
        Votes(selection=votes.selection, estimation=votes.estimation),
        recorded.certification.settings,
        headline.SHAPE,
        headline.CLASSES,
    )
    assert again == recorded.certification.certificates[0]

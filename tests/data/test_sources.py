"""Where data was loaded from, as runs record it and as both Python and the commands read it."""

import pytest

from smoothcert.api.given import inputs_of
from smoothcert.data.source import AS_FIRST, DataReference
from smoothcert.errors import InvalidInput

RECORD = {"data": "digits", "split": "test", "grid": "1/256", "limit": 3, "every": 2}


def test_a_record_of_an_earlier_run_has_the_channels_of_its_first_image():
    assert DataReference.recorded(RECORD).channels == AS_FIRST
    assert DataReference.recorded({**RECORD, "channels": None}).channels is None


@pytest.mark.parametrize(
    "change", [{"limit": "3"}, {"data": None}, {"code": "x"}, {"every": 1.5}, {"size": "8"}]
)
def test_what_is_no_record_is_refused(change):
    with pytest.raises(InvalidInput, match="record of its data is invalid"):
        DataReference.recorded({**RECORD, **change})
    with pytest.raises(InvalidInput, match="record of its data is invalid"):
        DataReference.recorded({name: RECORD[name] for name in ("data", "split")})


def test_a_grid_that_is_no_number_is_refused():
    with pytest.raises(InvalidInput, match="must be a step such as 1/255; got 'x'"):
        _ = DataReference("digits", grid="x").step


def test_a_base_in_memory_does_not_say_where_its_inputs_are(base_in_memory):
    with pytest.raises(InvalidInput, match="as they were in memory. Give them too"):
        inputs_of(base_in_memory, None)


@pytest.fixture
def base_in_memory():
    import numpy as np

    import smoothcert
    from support.known_truth import PixelSum

    images = np.full((2, 1, 2, 2), 0.5)
    inputs = smoothcert.Inputs.from_arrays(images, [1, 1], 1 / 16)
    return smoothcert.certify(PixelSum(28), inputs, 0.25, n0=20, n=100)

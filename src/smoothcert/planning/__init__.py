"""How much to spend on each input, from the cache and a pilot alone: without labels, before replay.

The expected radius of every affordable allocation is tabulated over cached vote shares; a policy
then picks a column per input. Nothing here is a guarantee: a bad plan costs tightness, never
soundness (docs/theory.md, section 7).
"""

from smoothcert.planning.expected import ExpectedRadii as ExpectedRadii
from smoothcert.planning.expected import expected_radii as expected_radii
from smoothcert.planning.flips import FlipRates as FlipRates
from smoothcert.planning.menu import Menu as Menu
from smoothcert.planning.plan import Plan as Plan
from smoothcert.planning.plan import candidate_splits as candidate_splits
from smoothcert.planning.plan import plan as plan
from smoothcert.planning.policy import Policy as Policy
from smoothcert.planning.priced import Known as Known
from smoothcert.planning.priced import PricedPlanner as PricedPlanner
from smoothcert.planning.sizes import Sizes as Sizes

"""How much each input deserves, from the cache and a pilot alone: label-blind, before any replay.

The expected radius of every affordable share is tabulated over cached vote shares; a policy
then picks a column per input. Nothing here is a guarantee: a bad plan costs tightness, never
soundness (docs/theory.md, section 7).
"""

from smoothcert.planning.flips import Flips as Flips
from smoothcert.planning.plan import Plan as Plan
from smoothcert.planning.plan import plan as plan
from smoothcert.planning.policy import Policy as Policy
from smoothcert.planning.table import Table as Table
from smoothcert.planning.table import family as family
from smoothcert.planning.table import table as table

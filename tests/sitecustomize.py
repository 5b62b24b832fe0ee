"""Every Python that has `tests` on its path refuses the network from its first line on."""

from support.no_network import refuse

refuse()

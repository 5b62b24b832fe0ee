"""Every Python that has this folder on its path refuses the network from its first line on."""

from network_guard import refuse

refuse()

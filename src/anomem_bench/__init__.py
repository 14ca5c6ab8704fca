"""The commands ``anomem bench``: the protocols of the paper, on any methods."""

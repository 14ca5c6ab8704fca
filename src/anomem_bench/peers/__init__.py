"""Peers: methods of the literature on the detector's own encoder, to compare with."""

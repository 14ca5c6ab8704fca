"""A detector as a graph that scores without torch, proved to score alike."""

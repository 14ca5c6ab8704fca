"""A person and the detector in a loop: which image to look at next, and what was said of it."""

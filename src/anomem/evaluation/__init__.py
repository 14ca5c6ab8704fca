"""Measurements of a detector on labelled images."""

"""The detector: fit, adapt, score, decide, explain, save."""

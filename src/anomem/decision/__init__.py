"""From scores to decisions: held-out normals, thresholds, and what to expect of them."""

"""A watched folder: every image that appears is scored once, also after a kill."""

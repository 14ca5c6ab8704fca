"""Pictures of what a detector says."""

"""Many images: tables of scores, partitions of them, a cluster."""

"""What is computed: feature maps, recollections, deviations, scores."""

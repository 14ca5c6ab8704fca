"""Which images are trained and tested on, and what is measured."""

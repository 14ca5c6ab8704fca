"""Choices of a training of seconds that learns something."""

from dataclasses import replace

from anomem.config import Config, EncoderChoices


def narrow(config: Config, steps: int) -> Config:
    """A ResNet of width 8, with a small stem, trained for so many steps."""
    stage1 = replace(config.stage1, min_steps=steps, max_steps=steps)
    return replace(config, encoder=EncoderChoices(width=8, stem_stride=2), stage1=stage1)

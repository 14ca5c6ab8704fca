import pytest

from anomem.device import make_fabric


@pytest.mark.parametrize("device", ["gpu", "cuda:x"])
def test_unknown_device(device: str) -> None:
    with pytest.raises(ValueError, match="give auto, cpu, cuda, cuda:1 or mps"):
        make_fabric(device)

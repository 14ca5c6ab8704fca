import torch

from anomem.scoring import digests


def test_digest_is_the_same_at_either_depth() -> None:
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    deep = (images.to(torch.int32) * 257).to(torch.uint16)
    assert torch.equal(digests(images), digests(deep))
    assert len(set(digests(images).tolist())) == 5 and bool((digests(images) >= 0).all())

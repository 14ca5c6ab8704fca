import copy

import pytest
from small_presets import Fitted, config_of, shown
from squares import Images, crops, scratched

from anomem import AnoMem, Config


@pytest.fixture(scope="session")
def fitted(hasty: Config, gravel: Images) -> Fitted:
    """Each is fitted once, and not to be changed."""
    known: dict[tuple[str, bool], AnoMem] = {}

    def of(preset: str, labelled: bool) -> AnoMem:
        if (preset, labelled) not in known and labelled:
            odd = shown(preset, scratched(crops(gravel, 80, 12), seed=1))
            known[preset, True] = copy.deepcopy(of(preset, False)).adapt(odd, [1] * 10 + [0] * 2)
        elif (preset, labelled) not in known:
            normals = shown(preset, crops(gravel, 0, 40))
            known[preset, False] = AnoMem(config_of(preset, hasty), device="cpu").fit(normals)
        return known[preset, labelled]

    return of

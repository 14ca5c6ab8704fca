import json
from pathlib import Path

from digit_images import digit_folders

from long_runs import Trial, main


def test_settings_are_trained_and_measured_on_the_way_at_toy_size(tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = digit_folders(tmp_path, enlarged=4, train=40)
    settings = ("memory and scales", "memory only")
    trial = Trial(data, out, "1", settings, (0,), steps=4, marks=2, width=4, batch=8, device="cpu")
    main(trial)
    lines = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]
    assert [(line["setting"], line["draw"]) for line in lines] == [(s, 0) for s in settings]
    for line, scales in zip(lines, (2, 1), strict=True):
        assert [point["step"] for point in line["curve"]] == [1, 2, 4]
        for point in line["curve"]:
            assert all(0 <= point[name] <= 1 for name in ("auroc", "neighbours", "accuracy"))
            assert len(point["scales"]) == scales
    main(trial)  # all that is asked for is there
    assert len((out / "runs.jsonl").read_text().splitlines()) == 2
    for measure in ("auroc", "neighbours", "accuracy"):
        assert (out / f"{measure}.png").stat().st_size > 1000

import json
from pathlib import Path

from digit_images import digit_folders

from paper_scale import Scale, main


def test_the_command_for_a_gpu_runs_end_to_end_at_toy_size(tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = digit_folders(tmp_path, enlarged=4, train=40)
    main(Scale(data, out, ("1",), epochs=2, marks=2, device="cpu", toy=True))
    runs = json.loads((out / "runs.json").read_text())
    assert [run["training"] for run in runs] == [
        "paper", "paper without memory", "scratch"
    ]  # fmt: skip
    for run in runs:
        epochs = [point["epochs"] for point in run["curve"]]
        assert run["normal"] == "1" and len(epochs) == 2
        assert 1 <= epochs[0] < 2 <= epochs[1]
        for point in run["curve"]:
            assert all(0 <= each <= 1 for each in point["auroc"].values())
            assert point["images_per_s"] > 0 and len(point["scales"]) == 2
    assert list(runs[1]["curve"][0]["auroc"]) == ["kmeans", "neighbours"]
    assert (out / "auroc.svg").stat().st_size > 1000

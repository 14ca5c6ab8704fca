"""Commands that take a detector to where it works: export, and the check there."""

from __future__ import annotations

from importlib import import_module

from anomem.cli.arguments import Check, Export, Result
from anomem.cli.decision import tell_decision
from anomem.cli.sources import opened
from anomem.runtime.printing import counted, tell


def export(arguments: Export) -> Result:
    """Write a folder that scores without PyTorch, once it has been seen to score alike."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        import_module(package)  # which lacks is told before the work
    from anomem.cli.outputs import refuse_among_images
    from anomem.detector.estimator import load_trained
    from anomem.detector.model_info import load_description
    from anomem.export.export import Wanted, export
    from anomem.exported.golden import Agreement
    from anomem.runtime.files import try_folder

    try_folder(arguments.out.parent)
    normals = opened(arguments.images, 0, arguments.split)
    refuse_among_images(arguments.out, [arguments.images], normals.names)
    anomalies = None
    if arguments.anomalies is not None:
        anomalies = opened(arguments.anomalies, 1, arguments.split)
    weights = load_description(arguments.model)["weights"]
    model = load_trained(arguments.model, device="cpu")
    made_of = f"{arguments.model} ({weights})"
    rule = arguments.rule or model.rule
    wanted = Wanted(rule, arguments.int8, anomalies, made_of)
    measured = export(model, normals, arguments.out, wanted)
    tell(f"{arguments.out}: {Agreement(**measured['golden'])}")
    if "int8" in measured:
        change = measured["int8"]
        tell(
            f"eight bits change {change['decisions_changed']} decisions of "
            f"{counted(change['images'], 'image')}, and scores by {change['score_median']:.2g} "
            f"(the median) to {change['score_most']:.2g} of the spread of normals"
        )
        if share := change["decisions_changed"] / change["images"]:
            tell(
                f"anomem: in eight bits {share:.1%} of the images are decided otherwise; use the "
                "exact export unless you have measured that this suits you.",
                error=True,
            )
        if "auroc" in change:
            exact, eight = change["auroc"]["exact"], change["auroc"]["int8"]
            tell(f"AUROC {eight:.4f}, without eight bits {exact:.4f}")
    decided = tell_decision(model, rule)
    return {"out": str(arguments.out), **measured, **decided}, 0


def check(arguments: Check) -> Result:
    """Score the golden images of an exported folder where it will work."""
    from anomem.exported.golden import check

    agreed = check(arguments.folder)
    tell(f"{arguments.folder}: {agreed}")
    return agreed.as_json(), 0

"""Writes the canonical run files of this folder: ``python runs/make.py``.

They are complete, defaults included, so that a changed default changes no file. Promoted files are not written
here: ``python -m sweeper.promote`` writes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.paper import systems
from trainer.config.files import dump_run, parse_run
from trainer.files import atomic_write

HERE = Path(__file__).parent

PROTOCOLS: dict[str, dict[str, Any]] = {
    "lfs10": {"kind": "lfs", "tasks": 10},
    "lfs20": {"kind": "lfs", "tasks": 20},
    "lfh5": {"kind": "lfh", "tasks": 5},
    "lfh10": {"kind": "lfh", "tasks": 10},
}

SMALL_IMAGES: dict[str, Any] = {
    "net": {"name": "resnet32"},
    "optim": {"epochs": 160, "lr": 0.1, "milestones": [80, 120], "weight_decay": 5.0e-4},
}
LARGE_IMAGES: dict[str, Any] = {
    "net": {"name": "resnet18"},
    "optim": {"epochs": 90, "lr": 0.1, "milestones": [30, 60], "weight_decay": 1.0e-4},
}
IN_224: dict[str, Any] = {"resize": 256, "crop": 224, "pad": 0, "normalise": "imagenet", "holdout_fraction": 0.1}

SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "cifar100_lt": (
        "CIFAR100-LT, ratio 100, as in the paper's Table 1",
        SMALL_IMAGES
        | {
            "data": {
                "source": "cifar100",
                "path": "${CIFAR100}",
                "holdout_fraction": 0.1,
                "imbalance": {"ratio": 100.0},
            }
        },
    ),
    "imagenet_subset_lt": (
        "ImageNetSubset-LT, 100 classes, ratio 100, as in the paper's Table 1",
        LARGE_IMAGES
        | {
            "data": IN_224
            | {
                "source": "imagenet_subset",
                "path": "${IMAGENET}",
                "imbalance": {"ratio": 100.0, "profile": "position", "draw": "first"},
            }
        },
    ),
    "food101_lt": (
        "Food101-LT, ratio 100, as in the paper's Table 1; its lists of images were never published",
        LARGE_IMAGES
        | {
            "data": IN_224
            | {
                "source": "food101",
                "path": "${FOOD101}",
                "resize": 224,
                "imbalance": {"ratio": 100.0, "profile": "position", "draw": "first"},
            },
            "protocol": {"class_order": {"seed": 0}},
        },
    ),
    "imagenet32_lt": (
        "100 classes of ImageNet at 32x32 from Parquet files, ratio 100",
        SMALL_IMAGES | {"data": {"source": "parquet", "path": "${IMAGENET32_100}", "imbalance": {"ratio": 100.0}}},
    ),
}

RECOGNITION: dict[str, Any] = {
    "protocol": {"kind": "lfs", "tasks": 1, "class_order": {"seed": None}},
    "net": {"name": "resnet32", "shortcut": "pad"},
    "memory": {"per_class": 0},
    "optim": {
        "epochs": 200,
        "lr": 0.1,
        "milestones": [160, 180],
        "gamma": 0.01,
        "warmup_epochs": 5,
        "batch_size": 128,
        "weight_decay": 2.0e-4,
    },
}
"""one task, as in the paper's Table 2: the protocol of Cui et al., "Class-Balanced Loss", CVPR 2019"""
RECOGNITION_SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "cifar100_lt": ("CIFAR100-LT", {"source": "cifar100", "path": "${CIFAR100}", "normalise": "cifar10_image_std"}),
    "imagenet32_lt": ("100 classes of ImageNet at 32x32", {"source": "parquet", "path": "${IMAGENET32_100}"}),
}
RATIOS = (100, 50, 10)
ONE_TASK = "all classes in one task, as in the paper's Table 2"

ABLATIONS = tuple(
    (kd, group, reweight_kd)
    for kd in ("none", "kd", "dakd")
    for group in ("none", "joint", "decoupled")
    for reweight_kd in (False, True)
    if not reweight_kd or (kd != "none" and group != "none")
)
"""every combination of Table 3's switches; the rest would reweight a distillation that is none, or by no weights"""
ABLATION_ROWS = {
    ("dakd", "none", False): "DAKD alone",
    ("dakd", "decoupled", True): "DAKD + DGR, distillation gradient reweighted too",
    ("dakd", "joint", False): "DAKD + GR",
    ("dakd", "decoupled", False): "DAKD + DGR, the method",
}
"""those that Table 3 has"""
ABLATION_SETS = {
    "food101_lt": ("lfs10", "lfs20"),
    "imagenet_subset_lt": ("lfh5", "lfh10"),
    "imagenet32_lt": ("lfs10", "lfh5"),
}
"""Table 3's, and one for machines without them"""
SYSTEM_SETS = ("cifar100_lt", "imagenet32_lt")
"""Table 1's run files are of: the others differ in `data`, `protocol`, `net` and `optim` as the canonical files do"""
DISTILLATION_SETS = ("cifar100_lt", "imagenet32_lt")
"""Fig. 5's run files are of"""

CIFAR10 = SMALL_IMAGES | {
    "data": {"source": "parquet", "path": "${CIFAR10}", "normalise": "cifar10", "imbalance": {"ratio": 100.0}},
    "protocol": {"kind": "lfs", "tasks": 5},
}
DIGITS: dict[str, Any] = {
    "data": {
        "source": "digits",
        "crop": 8,
        "augment": "random_crop",
        "pad": 1,
        "flip": False,
        "normalise": "half",
        "imbalance": {"ratio": 20.0},
    },
    "protocol": {"kind": "lfs", "tasks": 5},
    "net": {"name": "small"},
    "memory": {"per_class": 5},
    "optim": {"epochs": 20, "lr": 0.05, "milestones": [10, 15], "batch_size": 32},
}


def contents() -> dict[str, str]:
    """What each file holds, by name."""
    return canonical() | table1() | table2() | table3() | fig5()


def canonical() -> dict[str, str]:
    """The protocols of every set, with the paper's method."""
    files = {}
    for stem, (about, _) in SETS.items():
        for name, protocol in PROTOCOLS.items():
            kind = "equal tasks from scratch" if protocol["kind"] == "lfs" else "tasks after half of the classes"
            files[f"{stem}_{name}.yaml"] = _file(f"{about}: {protocol['tasks']} {kind}.", _incremental(stem, name))
    for stem, (about, _) in RECOGNITION_SETS.items():
        files[f"{stem}_recognition.yaml"] = _file(f"{about}, ratio 100: {ONE_TASK}.", _recognition(stem, 100))
    files["cifar10_lt_lfs5.yaml"] = _file(
        "CIFAR-10 from Parquet files, ratio 100: 5 equal tasks from scratch.", CIFAR10
    )
    about = "scikit-learn's digits, ratio 20: 5 tasks, seconds on a CPU, no download."
    files["digits_lfs5.yaml"] = _file(about, DIGITS)
    one_task = {"protocol": {"kind": "lfs", "tasks": 1}, "memory": {"per_class": 0}}
    files["digits_recognition.yaml"] = _file("scikit-learn's digits, ratio 20: one task.", DIGITS | one_task)
    for method in ("finetune", "distillation"):
        files[f"digits_lfs5_{method}.yaml"] = _file(about, DIGITS | {"method": {"name": method}})
    return files


def table1() -> dict[str, str]:
    """Class-incremental learning: every system but the paper's own, which the canonical files have."""
    files = {}
    for stem in SYSTEM_SETS:
        for row in systems.SYSTEMS:
            if row is not systems.OURS:
                about = f"{stem}_lfs10.yaml with {row.label}, as in the paper's Table 1."
                fields = _incremental(stem, "lfs10") | dict(row.changes)
                files[f"table1/{stem}_lfs10_{row.slug}.yaml"] = _file(about, fields, schema="../schema.json")
    return files


def table2() -> dict[str, str]:
    """Long-tailed recognition: every system at every ratio."""
    files = {}
    about, _ = RECOGNITION_SETS["cifar100_lt"]
    for ratio in RATIOS:
        for row in systems.RECOGNITION:
            fields = _recognition("cifar100_lt", ratio) | dict(row.changes)
            files[f"table2/ratio{ratio}_{row.slug}.yaml"] = _file(
                f"{about}, ratio {ratio}, with {row.label}: {ONE_TASK}.", fields, schema="../schema.json"
            )
    return files


def table3() -> dict[str, str]:
    """The ablation: which distillation, which reweighting, and whether it covers the distillation."""
    files = {}
    for stem, protocol in ((stem, name) for stem, protocols in ABLATION_SETS.items() for name in protocols):
        for switches in ABLATIONS:
            kd, group, reweight_kd = switches
            method = {"name": "gradient_reweighting", "kd": kd, "group": group, "reweight_kd": reweight_kd}
            # Without reweighting the classifier learns from the plain gradient of the loss.
            method |= {"beta": "one", "task_ratio": "none"} if group == "none" else {}
            row = f" ({ABLATION_ROWS[switches]})" if switches in ABLATION_ROWS else ""
            about = f"{stem}_{protocol}.yaml with other switches, as in the paper's Table 3{row}."
            name = f"table3/{stem}_{protocol}_{kd}_{group}{'_reweight_kd' if reweight_kd else ''}.yaml"
            files[name] = _file(about, _incremental(stem, protocol) | {"method": method}, schema="../schema.json")
    return files


def fig5() -> dict[str, str]:
    """The distillations in each other's place."""
    files = {}
    for stem in DISTILLATION_SETS:
        for row in systems.DISTILLATIONS:
            fields = _incremental(stem, "lfs10") | dict(row.changes)
            about = f"{stem}_lfs10.yaml with distillation {row.label}, as in the paper's Fig. 5."
            files[f"fig5/{stem}_lfs10_{row.slug}.yaml"] = _file(about, fields, schema="../schema.json")
    return files


def _incremental(stem: str, protocol: str) -> dict[str, Any]:
    _, fields = SETS[stem]
    return fields | {"protocol": fields.get("protocol", {}) | PROTOCOLS[protocol]}


def _recognition(stem: str, ratio: int) -> dict[str, Any]:
    """Sizes fall with the label, all images stay in; crops are not resized."""
    _, data = RECOGNITION_SETS[stem]
    imbalance = {"ratio": float(ratio), "order": "ordered"}
    return RECOGNITION | {"data": {"augment": "random_crop", "imbalance": imbalance} | data}


def _file(about: str, fields: dict[str, Any], schema: str = "schema.json") -> str:
    config = parse_run({"method": {"name": "gradient_reweighting"}} | fields)
    return f"# yaml-language-server: $schema={schema}\n# {about}\n{dump_run(config)}"


if __name__ == "__main__":
    for name, content in contents().items():
        (HERE / name).parent.mkdir(exist_ok=True)
        atomic_write(HERE / name, content.encode())
        print(HERE / name)

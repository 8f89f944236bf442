"""Writes the canonical run files of this folder: ``python runs/make.py``.

They are complete, defaults included, so that a changed default changes no file. Promoted files are not written
here: ``python -m sweeper.promote`` writes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.checkpoint import atomic_write
from trainer.runfile import dump_run, parse_run

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
    files = {}
    for stem, (about, fields) in SETS.items():
        for name, protocol in PROTOCOLS.items():
            kind = "equal tasks from scratch" if protocol["kind"] == "lfs" else "tasks after half of the classes"
            merged = fields | {"protocol": fields.get("protocol", {}) | protocol}
            files[f"{stem}_{name}.yaml"] = _file(f"{about}: {protocol['tasks']} {kind}.", merged)
    files["cifar10_lt_lfs5.yaml"] = _file(
        "CIFAR-10 from Parquet files, ratio 100: 5 equal tasks from scratch.", CIFAR10
    )
    about = "scikit-learn's digits, ratio 20: 5 tasks, seconds on a CPU, no download."
    files["digits_lfs5.yaml"] = _file(about, DIGITS)
    for method in ("finetune", "distillation"):
        files[f"digits_lfs5_{method}.yaml"] = _file(about, DIGITS | {"method": {"name": method}})
    return files


def _file(about: str, fields: dict[str, Any]) -> str:
    config = parse_run({"method": {"name": "gradient_reweighting"}} | fields)
    return f"# yaml-language-server: $schema=schema.json\n# {about}\n{dump_run(config)}"


if __name__ == "__main__":
    for name, content in contents().items():
        atomic_write(HERE / name, content.encode())
        print(HERE / name)

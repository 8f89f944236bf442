"""An evaluation as one picture: the confusion matrix, a table of the classes, and the reliability of confidences."""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer.model.evaluation import Evaluation
from trainer.results.metrics import BINS

_NAMED = 40
"""classes that are named beside the matrix"""
_ROWS = 25
"""of the table: the classes with the lowest accuracies"""
_LETTERS = 18
"""of a class's name"""
_COLOR, _GAP = "#1b6ca8", "#d95f02"


def draw(found: Evaluation) -> bytes:
    """The picture as PNG."""
    figure = Figure(figsize=(18, 6), layout="constrained")
    matrix, table, reliability = figure.subplots(1, 3, width_ratios=(1.1, 1.2, 1))
    _matrix(matrix, found)
    _table(table, found)
    _reliability(reliability, found)
    figure.suptitle(found.summary())
    content = io.BytesIO()
    figure.savefig(content, dpi=110)
    return content.getvalue()


def _matrix(axes: Axes, found: Evaluation) -> None:
    shares_CC = 100 * found.confusion_CC / found.confusion_CC.sum(1, keepdim=True).clamp_min(1)
    shown = axes.imshow(shares_CC.numpy(), cmap="Blues", vmin=0, vmax=100)
    bar = axes.figure.colorbar(shown, ax=axes, shrink=0.8)
    bar.set_label("% of the images of a class")
    names = [_short(name) for name in found.class_names]
    if len(names) <= _NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="taken for", ylabel="class, in the order of learning", title="Confusion matrix")


def _table(axes: Axes, found: Evaluation) -> None:
    headers, rows = found.table()
    accuracies = [record["acc_pct"] for record in found.records()]
    order = sorted(range(len(rows)), key=lambda i: 101.0 if accuracies[i] is None else accuracies[i])[:_ROWS]
    if len(rows) <= _ROWS:
        order = list(range(len(rows)))
    drawn = axes.table(
        [[_short(cell) for cell in rows[i]] for i in order],
        colLabels=headers,
        loc="upper center",
        cellLoc="left",
        edges="horizontal",
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8)
    drawn.auto_set_column_width(list(range(len(headers))))
    axes.axis("off")
    axes.set_title(
        "Classes" if len(order) == len(rows) else f"The {len(order)} of {len(rows)} classes with most errors"
    )


def _reliability(axes: Axes, found: Evaluation) -> None:
    axes.plot([0, 1], [0, 1], color="#8c8c8c", linestyle="--", linewidth=1, label="calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy", title="Reliability")
    if found.bins is None:
        axes.text(0.5, 0.5, "the method gives no probabilities", ha="center")
        return
    images_J, confidence_J, correct_J = (sums_MJ[0] for sums_MJ in found.bins)
    for place in range(BINS):
        if not images_J[place]:
            continue
        accuracy, confidence = (float(sums_J[place] / images_J[place]) for sums_J in (correct_J, confidence_J))
        left, share = place / BINS, float(images_J[place] / images_J.sum())
        axes.bar(left, accuracy, 1 / BINS, align="edge", color=_COLOR, alpha=0.25 + 0.75 * share, edgecolor="white")
        axes.plot([left, left + 1 / BINS], [confidence, confidence], color=_GAP, linewidth=2)
    axes.plot([], [], color=_GAP, linewidth=2, label="mean confidence of a bin")
    axes.bar(0, 0, color=_COLOR, label="accuracy (darker: more images)")
    axes.legend(loc="upper left", frameon=False)


def _short(text: str) -> str:
    plain = text.replace("$", r"\$")  # two of them would be mathematics
    return plain if len(plain) <= _LETTERS else plain[: _LETTERS - 3] + "..."

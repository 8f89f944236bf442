"""How configurations are named to people."""

from sweeper.search.space import format_params, short_names


def test_fields_are_short_where_they_are_clear() -> None:
    fields = ["optim.lr", "method.lambda", "stage2.lr"]
    assert list(short_names(fields).values()) == ["optim.lr", "lambda", "stage2.lr"]
    assert format_params({"optim.lr": 0.05, "method.lambda": 1.0}) == "lr 0.05, lambda 1"
    assert format_params({"optim.lr": 0.05, "stage2.lr": 0.1}) == "optim.lr 0.05, stage2.lr 0.1"

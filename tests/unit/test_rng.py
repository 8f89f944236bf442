"""Random draws by name."""

import itertools
import random
import subprocess
import sys

import torch

from trainer.rng import stream


def draw(seed: int, *where: str | int) -> list[float]:
    found: list[float] = torch.rand(4, generator=stream(seed, *where)).tolist()
    return found


NAMES = list(itertools.product((0, 1, 2**31 - 1), ("shuffle", "init"), (0, 1), (0, 10)))


def test_draws_do_not_depend_on_their_order() -> None:
    first = {name: draw(*name) for name in NAMES}
    shuffled = random.Random(0).sample(NAMES, len(NAMES))
    assert {name: draw(*name) for name in shuffled} == first


def test_every_name_draws_other_numbers() -> None:
    assert len({tuple(draw(*name)) for name in NAMES}) == len(NAMES)
    assert draw(1, 2, 3) != draw(12, 3) != draw(1, 23)


def test_another_process_draws_the_same_numbers() -> None:
    code = (
        "import torch; from trainer.rng import stream; print(torch.rand(4, generator=stream(7, 'init', 'a')).tolist())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(draw(7, "init", "a"))


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    draw(0, "anything")
    assert torch.equal(torch.get_rng_state(), before)

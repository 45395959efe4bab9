"""Random choices: pure functions of their named axes."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from icmbench.base.seeds import batch_indices, derive, generator
from icmbench.experiment.devices import seed_torch

SMALL = st.integers(1, 12)


@given(st.integers(0, 2**62), SMALL, SMALL, st.integers(0, 3))
def test_every_epoch_is_a_permutation(seed: int, batch_size: int, length: int, epoch: int) -> None:
    steps = (epoch + 1) * length // batch_size + 1
    drawn = np.concatenate([batch_indices(seed, step, batch_size, length) for step in range(steps)])
    assert sorted(drawn[epoch * length : (epoch + 1) * length]) == list(range(length))


@given(st.integers(0, 2**62), st.integers(0, 10_000), SMALL, SMALL, SMALL)
def test_the_stream_does_not_depend_on_how_it_is_cut(seed: int, step: int, a: int, b: int, length: int) -> None:
    whole = batch_indices(seed, step, a * b, length)
    parts = [batch_indices(seed, step * b + part, a, length) for part in range(b)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_a_batch_is_a_pure_function_of_its_arguments() -> None:
    first = batch_indices(5, 7, 8, 100)
    np.random.default_rng(0).random(10)
    random.random()
    torch.manual_seed(1)
    batch_indices(5, 3, 8, 100)
    assert np.array_equal(batch_indices(5, 7, 8, 100), first)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(batch_indices(seed, epoch, 50, 50)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@pytest.mark.parametrize("axis", range(4))
def test_a_seed_depends_on_every_axis(axis: int) -> None:
    axes: list[object] = ["protocol", 0, 1.5, "batches"]
    seeds = {derive(*axes[:axis], value, *axes[axis + 1 :]) for value in [axes[axis], *range(10, 1010)]}
    assert len(seeds) == 1001
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_axes_do_not_run_together_and_their_order_and_number_count() -> None:
    spellings = [("ab", "c"), ("a", "bc"), ("abc",), ("c", "ab"), ("ab", "c", ""), (1, 23), (12, 3), (3, 12), ()]
    assert len({derive(*axes) for axes in spellings}) == len(spellings)


def test_seeds_are_the_same_in_every_process_and_version() -> None:
    assert derive("a", 0) == 2785467599993610612
    assert batch_indices(1, 2, 3, 10).tolist() == [7, 5, 2]


def test_streams_of_different_axes_differ_and_of_equal_axes_agree() -> None:
    assert generator("x", 1).random(4).tolist() == generator("x", 1).random(4).tolist()
    assert generator("x", 1).random(4).tolist() != generator("x", 2).random(4).tolist()
    drawn = []
    for axis in (1, 2, 1):
        seed_torch("x", axis)
        drawn.append(torch.rand(4).tolist())
    assert drawn[0] == drawn[2] != drawn[1]

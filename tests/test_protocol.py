"""Protocols: the hash is the identity, and a mistake in a file is one sentence that names the field."""

import copy
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from builders import SHA, make_protocol, protocol_fields
from icmbench.base.errors import UserError
from icmbench.schema.protocol import NOT_TRAINED_ON, Protocol, Training, override, parse, read_toml

FULL = make_protocol(
    files=[{"path": "a.txt", "bytes": 3, "digest": SHA, "source": "https://example.org"}], assumed={"lr": "a guess"}
).model_dump(mode="json", by_alias=True)

OTHER_VALUES = {
    "replicate": "reflect",
    "adam": "adamw",
    "32-true": "bf16-mixed",
    "noise": "rounding",
    SHA: SHA[::-1],
    "weights:start.safetensors": "weights:other.safetensors",
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all single values in nested fields."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [leaf for key, inner in items for leaf in leaves(inner, (*path, key))]
    return [path]


def with_other_value(path: tuple[Any, ...]) -> dict[str, Any]:
    """FULL with one value changed to another valid one."""
    fields: dict[str, Any] = copy.deepcopy(FULL)
    place: Any = fields
    for key in path[:-1]:
        place = place[key]
    old = place[path[-1]]
    if isinstance(old, bool):
        new: Any = not old
    elif isinstance(old, str):
        new = OTHER_VALUES.get(old, old + "x")
    elif path[-1] == "crop":
        new = 2 * old
    elif path[-1] == "pad_multiple":
        new = old // 2
    else:
        new = (old or 0) + 1 if isinstance(old, int | None) else 0.7 * old + 0.011
    place[path[-1]] = new
    return fields


@pytest.mark.parametrize("path", leaves(FULL), ids=lambda path: ".".join(map(str, path)))
def test_the_hash_depends_on_every_value_that_a_trained_codec_depends_on(path: tuple[Any, ...]) -> None:
    same = parse(with_other_value(path), "changed").hash == parse(FULL, "original").hash
    assert same == (path[0] in NOT_TRAINED_ON or path == ("content", "val"))


def test_val_data_are_not_in_the_hash_and_train_data_are() -> None:
    val, train = (make_protocol(data={"source": "shapes", "seed": 0, split: {"images": "here"}}) for split in ("val", "train"))
    assert val.hash == make_protocol().hash != train.hash


def test_a_protocol_that_is_not_bound_to_its_data_has_no_hash() -> None:
    with pytest.raises(ValueError, match="tiny-v1 is not bound to its data"):
        _ = parse(protocol_fields(), "").hash


def test_no_field_escapes_the_test_above() -> None:
    assert {path[0] for path in leaves(FULL)} == set(Protocol.model_fields)


def test_the_order_of_rate_points_belongs_to_the_identity_and_the_order_of_keys_does_not() -> None:
    turned = dict(reversed(FULL.items())) | {"data": dict(reversed(FULL["data"].items()))}
    assert parse(turned, "keys").hash == parse(FULL, "").hash
    assert parse(FULL | {"rates": FULL["rates"][::-1]}, "rates").hash != parse(FULL, "").hash


def test_the_hash_survives_json_and_spelled_out_defaults() -> None:
    written = make_protocol()
    again = Protocol.model_validate_json(written.model_dump_json(by_alias=True))
    assert (again, again.hash) == (written, written.hash)
    assert json.dumps(FULL)  # plain JSON: nothing in it that only Python can write
    assert make_protocol(anchor="task_loss").identity == written.identity == f"tiny-v1@{written.hash}"
    assert len(written.hash) == 12


def test_the_hash_of_published_fields_never_changes() -> None:
    assert make_protocol().hash == "feab38ed48fb"


def changed(**changes: Any) -> dict[str, Any]:
    fields = protocol_fields()
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        place = fields
        for key in parents:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return fields


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (changed(colour="red"), "colour"),
        (changed(training__stpes=5), "training.stpes"),
        (changed(training__steps=None), "training.steps"),
        (changed(training__steps=0), "training.steps"),
        (changed(training__steps="many"), "training.steps"),
        (changed(training__steps=2.5), "training.steps"),
        (changed(training__lr=-1), "training.lr"),
        (changed(training__lr=math.nan), "training.lr"),
        (changed(training__lr=math.inf), "training.lr"),
        (changed(training__hold=1.5), "training.hold"),
        (changed(training__optimizer="sgd"), "training.optimizer"),
        (changed(codec__sizes={"N": "big"}), "codec.sizes.N"),
        (changed(codec__padding="zeros"), "codec.padding"),
        (changed(name="Upper Case"), "name"),
        (changed(name="../escape"), "name"),
        (changed(rates=[]), "rates"),
        (changed(rates=[{"lambda": 0, "start": {"path": "a", "sha256": SHA}}]), "rates.0.lambda"),
        (changed(rates=[{"lambda": math.inf, "start": {"path": "a", "sha256": SHA}}]), "rates.0.lambda"),
        (changed(rates=[{"lambda": 1, "start": {"path": "a", "sha256": "abc"}}]), "rates.0.start.sha256"),
        (changed(rates=[{"lambda": 1, "start": {"path": "a", "sha256": SHA.upper()}}]), "rates.0.start.sha256"),
        (changed(evaluation__metric=None), "evaluation.metric"),
    ],
)
def test_a_wrong_field_is_named_in_one_sentence(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(fields, "my.toml")
    message = str(caught.value)
    assert message.startswith("my.toml is not a valid protocol: ")
    assert f" {named}: " in message
    assert "\n" not in message


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(UserError, match=r"training\.steps.*colour"):
        parse(changed(training__steps=0, colour="red"), "my.toml")


@pytest.mark.parametrize("lambdas", [(0.1, 0.3, 0.1), (1, 1.0), (0.3, 0.30000000001)])
def test_the_same_lambda_twice_is_refused(lambdas: tuple[float, ...]) -> None:
    rates = [{"lambda": lmbda, "start": {"path": "a", "sha256": SHA}} for lmbda in lambdas]
    with pytest.raises(UserError, match="the same lambda"):
        make_protocol(rates=rates)


def test_a_crop_must_be_a_multiple_of_the_padding() -> None:
    codec = protocol_fields()["codec"] | {"pad_multiple": 32}
    training = protocol_fields()["training"]
    assert make_protocol(codec=codec, training=training | {"crop": 96}).training.crop == 96
    with pytest.raises(UserError, match=r"training\.crop must be a multiple of codec\.pad_multiple \(32\)"):
        make_protocol(codec=codec, training=training | {"crop": 100})


def test_an_override_reaches_dotted_fields_and_lists_and_leaves_the_original_alone() -> None:
    before = make_protocol()
    original = before.model_dump()
    after = override(
        before, {"training.steps": 7, "codec.sizes.N": 16, "rates.1.lambda": 0.5, "data.seed": 3, "data.new.deep": "x"}
    )
    assert (after.training.steps, after.codec.sizes, after.rates[1].lmbda) == (7, {"N": 16, "M": 12}, 0.5)
    assert after.data == {"source": "shapes", "seed": 3, "new": {"deep": "x"}}
    assert [point.lmbda for point in after.rates] == [0.1, 0.5, 1.0, 3.0]
    assert before.model_dump() == original
    assert override(before, {"rates": original_rates(before)[:2]}).rates == before.rates[:2]


def original_rates(protocol: Protocol) -> list[dict[str, Any]]:
    rates: list[dict[str, Any]] = protocol.model_dump(mode="json", by_alias=True)["rates"]
    return rates


def test_a_changed_protocol_never_passes_for_the_published_one() -> None:
    before = make_protocol()
    once = override(before, {"training.steps": 7})
    again = override(once, {"training.steps": before.training.steps})
    assert once.name == again.name == "tiny-v1+changed"
    assert len({before.identity, once.identity, again.identity}) == 3
    assert override(before, {}) == before


def test_another_evaluation_is_the_same_experiment_and_other_data_have_to_be_bound_again() -> None:
    before = make_protocol()
    other = override(before, {"evaluation.metric": "AP50", "evaluation.score_tolerance": 2.0, "anchor": "mse"})
    assert (other.identity, other.evaluation.metric, other.anchor) == (before.identity, "AP50", "mse")
    assert override(before, {"training.steps": 7}).content == before.content
    assert override(before, {"data.seed": 1}).content is None
    assert override(before, {"recognizer.config": "other.py"}).content is None


@pytest.mark.parametrize(
    "dotted",
    [
        "training.stpes", "trainig.steps", "training.steps.more", "rates.9.lambda", "rates.first.lambda", "rates.9",
        "codec.sizes.N.x", "evaluation", "", "training.", "summary.text",
    ],
)  # fmt: skip
def test_an_override_that_fits_nothing_is_refused(dotted: str) -> None:
    with pytest.raises(UserError) as caught:
        override(make_protocol(), {dotted: 5})
    assert dotted.split(".", maxsplit=1)[0] in str(caught.value)


def test_the_learning_rate_warms_up_holds_and_falls_to_its_final_share() -> None:
    training = Training(steps=100, batch_size=1, crop=64, lr=1.0, warmup=0.1, hold=0.5, final=0.2)
    factors = [training.lr_factor(step) for step in range(101)]
    assert 0 < factors[0] < 0.15
    assert all(a < b for a, b in pairwise(factors[:11]))
    assert set(factors[10:51]) == {1.0}
    assert all(a > b for a, b in pairwise(factors[50:]))
    assert factors[75] == pytest.approx(0.6)
    assert factors[100] == pytest.approx(0.2)


def test_without_warm_up_and_fall_the_learning_rate_is_constant() -> None:
    training = Training(steps=7, batch_size=1, crop=64, lr=1.0, warmup=0, hold=1, final=0.1)
    assert {training.lr_factor(step) for step in range(8)} == {1.0}


@pytest.mark.parametrize(
    ("content", "reason"), [(b"name = ", "not valid TOML"), (b"\xff\xfe", "not valid TOML"), (None, "cannot read")]
)
def test_an_unreadable_toml_file_is_a_sentence(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "protocol.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=reason):
        read_toml(path)

"""Records: what is written is read back, where it lies says what it is, and nonsense never gets in."""

import json
import math
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from builders import LAMBDAS, make_protocol, make_record
from icmbench.base.files import sha256
from icmbench.schema.record import SCHEMA, Record, impossible, method_label, seal
from icmbench.schema.store import Store


def test_a_codec_without_likelihoods_has_a_record_too(tmp_path: Path) -> None:
    path = Store(tmp_path).write(make_record(estimated_bpp=math.nan))
    records, broken = Store(tmp_path).read()
    assert broken == {}
    assert math.isnan(records[0].estimated_bpp)
    json.loads(path.read_text(), parse_constant=pytest.fail)  # NaN is no JSON


AUX = {"parameters": {"position": "mid", "alpha": 0.5}, "rate_point": {"lambda": 0.3}, "rate_index": 1, "seed": 2}
JPEG = {"rate_point": {"quality": 10}, "rate_index": 3, "start_sha256": "", "estimated_bpp": 0.4}
OTHER = {"trained_under": "other-v1@0123456789ab", "start_sha256": "f" * 64, "warnings": ["a warning, λ"]}


@pytest.mark.parametrize(
    ("method", "changes", "path"),
    [
        ("aux_loss", AUX, "aux_loss,alpha=0.5,position=mid/lambda=0.3,seed=2.json"),
        ("jpeg", JPEG, "jpeg/quality=10,seed=0.json"),
        ("task_loss", OTHER, "task_loss,trained_under=other-v1@0123456789ab/lambda=0.1,seed=0.json"),
    ],
)
def test_a_record_is_found_again_and_its_path_spells_its_identity(
    tmp_path: Path, method: str, changes: dict[str, Any], path: str
) -> None:
    record = make_record(method=method, **changes)
    assert Store(tmp_path).write(record) == tmp_path / f"tiny-v1@{record.protocol.hash}" / path
    assert Store(tmp_path).read() == ([record], {})


def test_every_axis_has_a_path_of_its_own(tmp_path: Path) -> None:
    store, protocol = Store(tmp_path), make_protocol()
    other = make_protocol(data={"source": "shapes", "seed": 1})
    records = [
        make_record(p, method=method, parameters=parameters, rate_point={"lambda": LAMBDAS[rate]}, rate_index=rate, seed=seed)
        for p in (protocol, other)
        for method in ("task_loss", "aux_loss")
        for parameters in ({}, {"alpha": 1.0}, {"alpha": 2.0})
        for rate in (0, 1)
        for seed in (0, 1)
    ]
    assert len({store.write(record) for record in records}) == len(records) == 48
    read, broken = store.read()
    assert (len(read), broken) == (48, {})


@pytest.mark.parametrize("value", ["a/b", "../../../outside", "..", "/tmp/outside"])
def test_a_parameter_with_a_slash_stays_inside_the_folder_and_is_found(tmp_path: Path, value: str) -> None:
    store = Store(tmp_path / "results")
    record = make_record(method="other", parameters={"file": value})
    assert store.write(record).resolve().is_relative_to((tmp_path / "results" / record.protocol.identity).resolve())
    assert store.read() == ([record], {})


def test_the_label_does_not_depend_on_the_order_of_parameters() -> None:
    assert method_label("m", {"b": 1, "a": "x"}) == method_label("m", {"a": "x", "b": 1}) == "m,a=x,b=1"
    assert method_label("m", {}) == "m"


def sealed(record: Record) -> dict[str, Any]:
    """The content of a record's file, sealed by somebody who does not look at the values."""
    fields = json.loads(record.model_dump_json(by_alias=True))
    return fields | {"content_sha256": seal(fields)}


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"bpp": 0.0}, "bpp is 0"),
    ({"bpp": -0.1}, "bpp is -0.1"),
    ({"bpp": math.nan}, "bpp is nan"),
    ({"bpp": math.inf}, "bpp is inf"),
    ({"bpp_mean": math.nan}, "bpp_mean is nan"),
    ({"bpp_mean": -1.0}, "bpp_mean is -1"),
    ({"scores": {"AP": math.nan}}, "AP is nan"),
    ({"scores": {"AP": 101.0}}, "AP is 101"),
    ({"scores": {"AP": -0.5}}, "AP is -0.5"),
    ({"scores": {"AP": 40.0, "AP50": 120.0}}, "AP50 is 120"),
    ({"scores": {"mIoU": 40.0}}, "score AP is missing"),
    ({"scores": {}}, "score AP is missing"),
    ({"scores": {"AP": 51.5}}, "above the ceiling"),
    ({"ceiling": {"AP": math.nan}}, "ceiling"),
    ({"ceiling": {"AP50": 70.0}}, "ceiling"),
    ({"protocol_hash": "0" * 12}, "hash"),
    ({"psnr": math.nan}, "psnr is nan"),
    ({"images": 0}, "images is 0"),
    ({"estimated_bpp": -0.1}, "estimated_bpp is -0.1"),
    ({"start_sha256": "f" * 64}, "the start codec is ffff"),
    ({"rate_point": {"lambda": 0.2}}, "no rate point number 0 with λ=0.2"),
    ({"rate_index": 1}, "no rate point number 1 with λ=0.1"),
    ({"curve_points": 3}, "its curve has 3 rate points, the protocol 4"),
    ({"rate_index": 4, "rate_point": {"lambda": 10.0}}, "no rate point number 4"),
]


@pytest.mark.parametrize(("changes", "reason"), IMPOSSIBLE, ids=[reason for _, reason in IMPOSSIBLE])
def test_impossible_values_are_refused_at_the_door_and_set_aside_inside(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    store, record = Store(tmp_path), make_record(**changes)
    with pytest.raises(ValueError, match=reason):
        store.write(record)
    assert not list(tmp_path.rglob("*.json"))
    path = store.write(make_record())
    path.write_text(json.dumps(sealed(record)))
    records, broken = store.read()
    assert records == []
    assert list(broken) == [path]
    assert reason in broken[path]


@pytest.mark.parametrize(
    "change",
    [
        {"bpp": 0.49}, {"scores": {"AP": 41.0, "AP50": 60.0}}, {"method": "task_loss", "created": "2026-01-01T00:00:00+00:00"},
        {"rows_sha256": "0" * 64}, {"warnings": ["not really"]}, {"content_sha256": "0" * 64}, {"extra": 1},
    ],
)  # fmt: skip
def test_a_record_edited_by_hand_is_noticed(tmp_path: Path, change: dict[str, Any]) -> None:
    path = Store(tmp_path).write(make_record())
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields, indent=4))  # another layout of the same content is no edit
    assert Store(tmp_path).read() == ([make_record()], {})
    path.write_text(json.dumps(fields | change))
    records, broken = Store(tmp_path).read()
    assert records == []
    assert "changed after it was written" in broken[path]


def test_edited_rows_are_noticed_and_missing_ones_are_not_held_against_a_record(tmp_path: Path) -> None:
    store, record = Store(tmp_path), make_record()
    rows = store.path_of(record).with_suffix(".parquet")
    rows.parent.mkdir(parents=True)
    rows.write_bytes(b"rows")
    record = record.model_copy(update={"rows_sha256": sha256(rows)})
    path = store.write(record)
    assert store.read() == ([record], {})
    rows.write_bytes(b"rowz")
    assert store.read() == ([], {path: "the rows of its images were changed after they were written"})
    rows.unlink()
    assert store.read() == ([record], {})


def test_a_codec_that_is_used_as_it_is_has_no_steps() -> None:
    record = make_record()
    assert impossible(record.model_copy(update={"cost": record.cost.model_copy(update={"steps": 0})})) == []
    longer = record.model_copy(update={"cost": record.cost.model_copy(update={"steps": 11})})
    assert impossible(longer) == ["trained for 11 steps, the protocol's budget is 10"]


def test_a_score_above_the_ceiling_by_noise_is_possible() -> None:
    assert impossible(make_record(scores={"AP": 50.9})) == []


@pytest.mark.parametrize(
    ("where", "value"), [(("training", "steps"), 999), (("data", "source"), "other"), (("name",), "tiny-v2")]
)
def test_a_hand_edited_protocol_is_set_aside(tmp_path: Path, where: tuple[str, ...], value: object) -> None:
    path = Store(tmp_path).write(make_record())
    content = json.loads(path.read_text())
    place = content["protocol"]
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    path.write_text(json.dumps(content))
    records, broken = Store(tmp_path).read()
    assert records == []
    assert "hash" in broken[path]


def test_a_copy_under_another_name_does_not_count_twice(tmp_path: Path) -> None:
    record = make_record()
    path = Store(tmp_path).write(record)
    copy = path.with_name("lambda=0.1,seed=0 (copy).json")
    copy.write_bytes(path.read_bytes())
    records, broken = Store(tmp_path).read()
    assert records == [record]
    assert list(broken) == [copy]


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"schema_version": 1}', b"[]", b"null", b"\xff\xfe\x00", b'{"bpp": NaN}', b"half", b"1", b"99"]
)
def test_a_damaged_file_and_one_of_another_schema_are_listed_with_their_reason(tmp_path: Path, content: bytes) -> None:
    store, good = Store(tmp_path), make_record()
    bad = store.write(make_record(seed=1))
    whole = bad.read_bytes()
    other = whole.replace(b'"schema_version": %d' % SCHEMA, b'"schema_version": ' + content)
    bad.write_bytes(other if content.isdigit() else whole[:300] if content == b"half" else content)
    store.write(good)
    records, broken = store.read()
    assert records == [good]
    assert list(broken) == [bad]
    assert ("schema_version" if content.isdigit() else "") in broken[bad].strip()


def test_other_files_in_the_folder_are_no_records(tmp_path: Path) -> None:
    path = Store(tmp_path).write(make_record())
    for name in (".lambda=0.3,seed=0.json.tmp123", ".hidden.json", "lambda=0.3,seed=0.parquet", "notes.txt"):
        (path.parent / name).write_text("{")
    (tmp_path / "README.json").write_text("{}")
    assert Store(tmp_path).read() == ([make_record()], {})


def test_an_empty_or_missing_folder_has_no_records(tmp_path: Path) -> None:
    assert Store(tmp_path).read() == ([], {})
    assert Store(tmp_path / "missing").read() == ([], {})


def test_a_second_write_replaces_the_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(make_record(bpp=0.4))
    store.write(make_record(bpp=0.6))
    assert [record.bpp for record in store.read()[0]] == [0.6]


def _write_often(folder: Path, record: Record) -> None:
    for _ in range(40):
        Store(folder).write(record)


def test_two_processes_may_write_the_same_record(tmp_path: Path) -> None:
    record = make_record(warnings=["long enough to be seen half written: " + "x" * 100_000])
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_often, args=(tmp_path, record)) for _ in range(2)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        records, broken = Store(tmp_path).read()
        assert broken == {}
        assert records in ([], [record])
        reads += len(records)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert reads > 0
    assert Store(tmp_path).read() == ([record], {})
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["lambda=0.1,seed=0.json"]

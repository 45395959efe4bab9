"""The bitstream container: what goes in comes out, and damage is a sentence, never a traceback."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icmbench.base.errors import UserError
from icmbench.codecs.container import MAGIC, VERSION, Content, pack, unpack

SIDES = st.tuples(st.integers(0, 2**35 - 1), st.integers(0, 2**35 - 1))
CONTENTS = st.builds(Content, SIDES, SIDES, st.lists(st.binary(max_size=300), max_size=4))
EXAMPLE = Content((128, 300), (8, 19), [b"first string", b"", b"x" * 200])
HEADER = MAGIC + bytes([VERSION])


@given(CONTENTS)
def test_what_is_packed_is_unpacked(content: Content) -> None:
    assert unpack(pack(content)) == content


@pytest.mark.parametrize("length", range(len(pack(EXAMPLE))))
def test_every_truncation_is_noticed(length: int) -> None:
    with pytest.raises(UserError, match="bitstream"):
        unpack(pack(EXAMPLE)[:length])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an icmbench container"),
        (b"\x89PNG\r\n\x1a\n", "not an icmbench container"),
        (b"CI\x01" + pack(EXAMPLE)[3:], "not an icmbench container"),
        (MAGIC + bytes([VERSION + 1]) + pack(EXAMPLE)[3:], f"container version {VERSION + 1}"),
        (pack(EXAMPLE) + b"\0", "length does not match"),
        (HEADER + b"\xff" * 40, "does not end"),
        (HEADER + b"\x01\x01\x01\x01" + b"\xff\xff\xff\xff\x7f", "more strings"),
        (HEADER + b"\x01\x01\x01\x01" + b"\x01" + b"\xff\xff\xff\xff\x7f", "length does not match"),
    ],
)
def test_damage_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        unpack(data)


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_give_a_content_or_a_user_error(data: bytes, with_magic: bool) -> None:
    try:
        content = unpack(HEADER + data if with_magic else data)
    except UserError:
        return
    assert with_magic or data.startswith(HEADER)
    assert sum(map(len, content.strings)) <= len(data)


@given(st.integers(0, len(pack(EXAMPLE)) - 1), st.integers(0, 255))
def test_a_changed_byte_never_loses_or_adds_bytes(position: int, value: int) -> None:
    data = bytearray(pack(EXAMPLE))
    data[position] = value
    try:
        content = unpack(bytes(data))
    except UserError:
        return
    total = sum(map(len, content.strings))
    assert bytes(data).endswith(b"".join(content.strings))
    assert len(pack(Content(content.size, content.latent, content.strings))) <= len(data)
    assert total < len(data)


def test_the_bytes_are_those_of_the_published_layout() -> None:
    packed = pack(Content((128, 300), (8, 19), [b"ab", b"c"]))
    assert packed == b"IC\x01" + b"\x80\x01" + b"\xac\x02" + b"\x08\x13" + b"\x02" + b"\x02\x01" + b"abc"

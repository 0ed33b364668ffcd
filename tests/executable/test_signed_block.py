"""The signed block's codec: what it writes it reads, and what it reads it writes again."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toolkit.errors import DamagedError
from toolkit.executable.integrity import stub_part
from toolkit.executable.signed_block import (
    MAX_SIGNATURES,
    SIZE,
    PayloadPart,
    Signature,
    SignedBlock,
    StubPart,
    decode_signed_block,
)

digests = st.binary(min_size=32, max_size=32)
words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=15)
payloads = st.builds(
    PayloadPart, st.integers(1, (1 << 48) - 1), digests, digests, st.integers(0, 255), digests
)
stubs = st.builds(StubPart, st.integers(0, (1 << 64) - 1), digests, words, words)
signatures = st.builds(
    Signature,
    st.sampled_from([1, 3]),
    st.integers(1, 255),
    digests,
    st.binary(min_size=64, max_size=64),
)
blocks = st.builds(
    SignedBlock, payloads, stubs, st.lists(signatures, max_size=MAX_SIGNATURES).map(tuple)
)
SAMPLE = SignedBlock(
    PayloadPart(8192, bytes(32), bytes(32), 1, bytes(32)),
    StubPart(4096, bytes(32), "x86_64", "1.0.0"),
    (Signature(1, 1, bytes(32), bytes(64)),),
)


@given(blocks)
def test_what_is_written_is_read(block: SignedBlock) -> None:
    data = block.encode()
    assert len(data) == SIZE and decode_signed_block(data) == block
    assert block.signed_bytes(1) == data[:192] and block.signed_bytes(3) == data[:320]


@given(blocks, st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, 255)), max_size=9))
@example(SAMPLE, [(8, 2)])
@example(SAMPLE, [(8, 0)])
@example(SAMPLE, [(4095, 1)])
@example(SAMPLE, [(24, 1)])
def test_bytes_of_others(block: SignedBlock, changes: list[tuple[int, int]]) -> None:
    """They are refused, or mean what they are: no two blocks are read as the same."""
    data = bytearray(block.encode())
    for at, value in changes:
        data[at] = value
    try:
        found = decode_signed_block(bytes(data))
    except DamagedError:
        return
    assert found is None or found.encode() == data


@pytest.mark.parametrize(
    ("at", "value", "told"),
    [
        (8, 2, "version 2"),
        (10, 2, "hash 2"),
        (22, 1, "payload of 2814"),
        (24, 1, "wrong place"),
        (33, 1, "wrong place"),
        (150, 1, "zeros must be"),
        (240, 1, "no word"),
        (320, 2, "over nothing"),
        (322, 1, "zeros must be"),
        (321, 0, "zeros must be"),
        (460, 1, "zeros must be"),
    ],
)
def test_what_is_refused(at: int, value: int, told: str) -> None:
    data = bytearray(SAMPLE.encode())
    data[at] = value
    if at == 321:
        data[330] = 1  # a key of no signature
    with pytest.raises(DamagedError, match=told):
        decode_signed_block(bytes(data))


def test_what_is_no_block() -> None:
    assert decode_signed_block(b"") is None
    assert decode_signed_block(bytes(SIZE)) is None
    assert decode_signed_block(SAMPLE.encode()[:-1]) is None


def test_another_stub_keeps_the_signatures_over_the_payload() -> None:
    both = (Signature(1, 1, bytes(32), bytes(64)), Signature(3, 1, bytes(32), bytes(64)))
    block = SignedBlock(SAMPLE.payload, SAMPLE.stub, both)
    other = StubPart(8192, bytes(32), "x86_64", "")
    assert block.under(SAMPLE.stub) == block
    assert block.under(other) == SignedBlock(SAMPLE.payload, other, both[:1])


def test_a_long_version_is_cut() -> None:
    part = stub_part(bytes(4096), "1.0.0.dev123+gabcdef0")
    assert part.version == "1.0.0.dev123+ga" and part.machine == ""
    assert decode_signed_block(SignedBlock(SAMPLE.payload, part).encode()) is not None

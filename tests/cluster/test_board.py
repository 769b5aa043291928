"""The board keeps the latest message of each member until the driver collects it."""

from __future__ import annotations

from tabcohort.cluster.board import MessageBoard


def test_the_latest_message_of_each_member_is_collected_once() -> None:
    board = MessageBoard()
    assert not board.tell((0, 1), b"first")
    assert not board.tell((0, 1), b"second")
    assert not board.tell((1, 1), b"other")
    assert board.collect(must_stop=False) == [b"second", b"other"]
    assert not board.must_stop()
    assert board.collect(must_stop=True) == []
    assert board.must_stop()
    assert board.tell((0, 1), b"third"), "workers are told to stop"

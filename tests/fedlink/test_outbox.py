"""What waits to be written, how many bodies move at once, and a row that lies on disk."""

from __future__ import annotations

import asyncio
import hashlib

import numpy as np
import pytest

from hansa.fedlink.gate import Gate
from hansa.fedlink.incoming import DiskRow, Incoming
from hansa.fedlink.outbox import FEW, MOST, Outbox


def test_frames_go_before_chunks_and_one_chunk_waits_at_a_time():
    async def play() -> list[bytes | None]:
        box, taken = Outbox(), []
        putting = [asyncio.create_task(box.chunk(raw)) for raw in (b"c1", b"c2")]
        await asyncio.sleep(0)
        box.frame(b"f1")
        for _ in range(3):
            taken.append(await box.next())
            await asyncio.sleep(0)
        assert [await task for task in putting] == [True, True]
        box.frame(b"f2")
        box.close()
        return [*taken, await box.next(), await box.next()]

    assert asyncio.run(play()) == [b"f1", b"c1", b"c2", b"f2", None]


def test_who_waits_for_a_place_is_told_when_it_is_closed():
    async def play() -> tuple[bool, bool]:
        box = Outbox()
        first = await box.chunk(b"c1")
        second = asyncio.create_task(box.chunk(b"c2"))
        await asyncio.sleep(0)
        box.close()
        return first, await second

    assert asyncio.run(play()) == (True, False)


def test_a_reader_is_held_up_by_frames_that_nobody_takes_and_given_up_at_last():
    async def play() -> None:
        box = Outbox()
        for _ in range(FEW + 1):
            box.frame(b"f")
        waiting = asyncio.create_task(box.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        await box.next()
        await asyncio.wait_for(waiting, 5)
        for _ in range(MOST):
            box.frame(b"f")
        assert box.closed and await box.next() is None
        box.frame(b"after")
        assert await box.next() is None

    asyncio.run(play())


def test_a_gate_lets_so_many_through_and_who_does_not_move_gives_up_the_place():
    async def play() -> list[str]:
        gate, log, moved = Gate(1, 0.05, 1), [], [0]

        async def transfer(name: str, moves: bool) -> None:
            async with gate.place(lambda: moved[0]):
                log.append(name)
                for _ in range(6):
                    moved[0] += moves
                    await asyncio.sleep(0.02)
            log.append(f"{name} done")

        await asyncio.gather(transfer("stuck", False), transfer("next", True), transfer("last", True))
        return log

    assert asyncio.run(play())[:3] == ["stuck", "next", "stuck done"]


def test_a_place_is_free_again_however_a_transfer_ends():
    async def play() -> None:
        gate = Gate(1, 5, 1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with gate.place(lambda: 0):
                    raise ZeroDivisionError
        await asyncio.wait_for(gate.place(lambda: 0).__aenter__(), 5)

    asyncio.run(play())


def test_a_row_on_disk_is_read_piece_by_piece(tmp_path):
    row, incoming = np.arange(50_000, dtype=np.float32), Incoming(tmp_path)
    for at in range(0, row.nbytes, 60_000):
        incoming.store(at, memoryview(row.tobytes())[at : at + 60_000])
    assert incoming.whole(hashlib.sha256(row.tobytes()).digest()) and not incoming.whole(b"")
    assert incoming.moved == row.nbytes and not list(tmp_path.iterdir()), "the file has no name"
    there = DiskRow(incoming.file, row.dtype, len(row))
    assert (there.shape, there.nbytes) == ((50_000,), row.nbytes)
    for where in (slice(0, 10), slice(49_990, 60_000), slice(7, 7), slice(20_000, 30_000)):
        assert np.array_equal(there[where], row[where])
    incoming.close()
    incoming.store(row.nbytes, b"late")
    assert incoming.file.closed and incoming.moved == row.nbytes


def test_pieces_that_do_not_follow_each_other_are_no_whole(tmp_path):
    incoming = Incoming(tmp_path)
    for offset, data in ((0, b"ab"), (3, b"d")):
        incoming.store(offset, data)
    assert not incoming.whole(hashlib.sha256(b"abd").digest())
    incoming.close()

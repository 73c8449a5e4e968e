"""Room on the disk of a worker's home."""

import logging

from workers import disk
from workers.disk import DiskReserve


def test_a_disk_with_room_and_one_that_cannot_be_looked_at_keep_nobody_from_work(tmp_path):
    assert not DiskReserve(tmp_path / "gone").is_short()


def test_a_full_disk_is_told_once_and_so_is_its_end(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "falq.worker")
    reserve = DiskReserve(tmp_path)
    monkeypatch.setattr(disk, "RESERVE_BYTES", 1 << 80)
    monkeypatch.setattr(disk, "_PART", 1)
    assert reserve.is_short()
    assert reserve.is_short()
    monkeypatch.setattr(disk, "RESERVE_BYTES", 0)
    assert not reserve.is_short()
    assert not reserve.is_short()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]

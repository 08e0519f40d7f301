"""Run folders: what is written is what is read, and nothing a folder holds can do harm."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.run_folders import NOW, evaluated, finished, progress, say, started
from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.runs.events import Event, Message, Progress, encode


def make(root: Path, name: str, *events: Event) -> Path:
    run = runs.create(root, name, "digits")
    runs.write_config(run, TrainConfig())
    say(run, *events)
    return run


class TestCreate:
    def test_default_name_and_clash(self, tmp_path: Path) -> None:
        made = [runs.create(tmp_path / "a" / "b", None, "/my data/cats.npz") for _ in range(3)]
        assert len({run.name for run in made}) == 3
        assert all(run.is_dir() and run.name.startswith("cats-lae-20") for run in made)

    @pytest.mark.parametrize("name", ["", ".", "..", ".x", "a/b", "a\n", "x" * 101, "a b", "\x1b["])
    def test_bad_names_are_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(runs.RunError, match=r"letters, digits") as error:
            runs.create(tmp_path, name, "digits")
        assert "\x1b" not in str(error.value)
        assert "\n" not in str(error.value)
        assert list(tmp_path.iterdir()) == []

    def test_taken_name(self, tmp_path: Path) -> None:
        runs.create(tmp_path, "x", "digits")
        with pytest.raises(runs.RunError, match="exists"):
            runs.create(tmp_path, "x", "digits")

    def test_root_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for root in (tmp_path / "file", tmp_path / "file" / "deeper"):
            with pytest.raises(runs.RunError, match="--run-root"):
                runs.create(root, None, "digits")


class TestWriterAndReader:
    def test_round_trip_as_it_grows(self, tmp_path: Path) -> None:
        run = runs.create(tmp_path, None, "digits")
        reader = runs.EventReader(run)
        assert reader.poll() == []
        written: list[Event] = [started(), progress(1), evaluated(1), finished()]
        seen: list[Event] = []
        with runs.RunWriter(run) as writer:
            for event in written:
                writer.append(event)
                seen += reader.poll()
        assert seen == written
        assert reader.poll() == []
        assert (reader.skipped, reader.restarts) == (0, 0)

    @given(cuts=st.lists(st.integers(0, 2000), max_size=8))
    @settings(max_examples=30, deadline=None)
    def test_any_torn_state_is_tolerated(
        self, cuts: list[int], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        run = tmp_path_factory.mktemp("run")
        written = [progress(n) for n in range(4)]
        data = "".join(encode(event) + "\n" for event in written).encode()
        reader, seen = runs.EventReader(run), []
        for cut in [*sorted(cuts), len(data)]:
            (run / runs.EVENTS_FILE).open("ab").close()
            with (run / runs.EVENTS_FILE).open("r+b") as file:
                file.write(data[:cut])
            seen += reader.poll()
        assert seen == written
        assert (reader.skipped, reader.restarts) == (0, 0)

    def test_writer_repairs_a_torn_line(self, tmp_path: Path) -> None:
        run = make(tmp_path, "r", progress(1))
        with (run / runs.EVENTS_FILE).open("ab") as file:
            file.write(b'{"schema": 1, "ty')
        with runs.RunWriter(run) as writer:
            writer.append(progress(2))
        reader = runs.EventReader(run)
        assert [event.iteration for event in reader.poll() if isinstance(event, Progress)] == [1, 2]
        assert reader.skipped == 1

    @pytest.mark.parametrize("longer", [False, True])
    def test_truncated_or_replaced(self, tmp_path: Path, longer: bool) -> None:
        run = make(tmp_path, "r", progress(1), progress(2))
        reader = runs.EventReader(run)
        assert len(reader.poll()) == 2
        fresh = [progress(10 + n) for n in range(5 if longer else 1)]
        (run / runs.EVENTS_FILE).write_text("".join(encode(event) + "\n" for event in fresh))
        assert reader.poll() == fresh
        assert reader.restarts == 1

    def test_garbage_is_counted_and_memory_bounded(self, tmp_path: Path) -> None:
        run = make(tmp_path, "r", progress(1))
        with (run / runs.EVENTS_FILE).open("ab") as file:
            file.write(b"\xff\xfe\x00\n[]\n{}\n\n" + b"x" * (5 << 20))
        reader = runs.EventReader(run)
        assert len(reader.poll()) == 1
        assert reader.skipped == 4
        with (run / runs.EVENTS_FILE).open("ab") as file:
            file.write(b"end\n" + encode(progress(2)).encode() + b"\n")
        assert len(reader.poll()) == 1
        assert reader.skipped == 4

    def test_limit_loses_nothing(self, tmp_path: Path) -> None:
        run = make(tmp_path, "r", *[progress(n) for n in range(7)])
        reader = runs.EventReader(run)
        parts = [reader.poll(limit=3) for _ in range(4)]
        assert [len(part) for part in parts] == [3, 3, 1, 0]

    def test_a_fifo_does_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / runs.EVENTS_FILE)
        os.mkfifo(tmp_path / runs.CONFIG_FILE)
        assert runs.EventReader(tmp_path).poll() == []
        assert runs.summarise(tmp_path).status == "not a run"

    def test_full_disk_is_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if not os.path.exists("/dev/full"):
            pytest.skip("no /dev/full here")
        full = open("/dev/full", "ab+", buffering=0)  # noqa: SIM115 - the writer closes it
        monkeypatch.setattr("lae_fast.runs.log.open_own", lambda path: full)
        with runs.RunWriter(tmp_path) as log, pytest.raises(runs.RunError, match="no space left"):
            log.append(progress(1))


class TestSummaries:
    def test_finished(self, tmp_path: Path) -> None:
        end = finished(status="stopped-early", best_epoch=2)
        run = make(tmp_path, "r", started(), evaluated(1), end)
        summary = runs.summarise(run)
        assert summary.status == "stopped-early"
        assert (summary.model, summary.dataset, summary.latent_dim) == ("lae", "digits", 8)
        assert (summary.epochs, summary.best_epoch) == (3, 2)
        assert summary.best_val_loss == end.val_loss
        assert summary.accept_rate == end.accept_rate

    def test_running_silent_crashed(self, tmp_path: Path) -> None:
        import socket

        host = socket.gethostname()
        begin = started(host=host, pid=os.getpid())
        run = make(tmp_path, "r", begin, evaluated(1), evaluated(2, best=False), progress(45))
        summary = runs.summarise(run, now=NOW + 46)
        assert (summary.status, summary.epochs) == ("running", 2)
        assert summary.best_val_loss == evaluated(1).val_loss
        assert runs.summarise(run, now=NOW + 105).status == "silent"
        say(run, started(NOW + 50, host=host, pid=2**22 + 1))
        assert runs.summarise(run, now=NOW + 51).status == "crashed"

    def test_resumed_run_is_not_finished(self, tmp_path: Path) -> None:
        run = make(tmp_path, "r", started(), finished(status="interrupted"), started(), progress(9))
        assert runs.summarise(run, now=NOW + 10).status == "running"

    def test_list_survives_anything(self, tmp_path: Path) -> None:
        make(tmp_path, "old", started(NOW), finished())
        make(tmp_path, "new", started(NOW + 100), finished())
        make(tmp_path, "config-only")
        (tmp_path / "empty").mkdir()
        (tmp_path / "foreign").mkdir()
        (tmp_path / "foreign" / "config.json").write_text('{"compilerOptions": {}}')
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "config.json").write_text("[" * 100_000)
        (tmp_path / "dirs" / "config.json").mkdir(parents=True)
        (tmp_path / "dirs" / "events.jsonl").mkdir()
        (tmp_path / "wrong").mkdir()
        (tmp_path / "wrong" / "config.json").write_text('{"dataset": 3, "latent_dim": {}}')
        (tmp_path / os.fsdecode(b"bad\xff\x1b[31m")).mkdir()
        (tmp_path / "loop").symlink_to("loop")
        status = {summary.name: summary.status for summary in runs.list_runs(tmp_path)}
        assert status["config-only"] == "starting"
        assert status["empty"] == status["foreign"] == status["deep"] == status["dirs"]
        assert status["empty"] == "not a run"
        names = [summary.name for summary in runs.list_runs(tmp_path)]
        assert names.index("new") < names.index("old")

    def test_no_root_is_no_runs(self, tmp_path: Path) -> None:
        assert runs.list_runs(tmp_path / "none") == []


class TestFind:
    def test_ways_to_name_a_run(self, tmp_path: Path) -> None:
        old = make(tmp_path, "digits-a", started(NOW))
        new = make(tmp_path, "mnist-a", started(NOW + 1))
        (tmp_path / "zzz").mkdir()
        assert runs.find(tmp_path, "digits-a") == old
        assert runs.find(tmp_path, "dig") == old
        assert runs.find(tmp_path, str(new)) == new
        assert runs.find(tmp_path, "latest") == new

    def test_a_misspelt_latest(self, tmp_path: Path) -> None:
        for name in ("dvae", "tested", "slate"):
            make(tmp_path, name)
        with pytest.raises(runs.RunError, match="did you mean 'latest'"):
            runs.find(tmp_path, "lates")

    def test_not_found(self, tmp_path: Path) -> None:
        make(tmp_path, "digits-a")
        make(tmp_path, "digits-b")
        with pytest.raises(runs.RunError, match="did you mean 'digits-"):
            runs.find(tmp_path, "digtis-a")
        with pytest.raises(runs.RunError, match="digits-a, digits-b"):
            runs.find(tmp_path, "digits")
        with pytest.raises(runs.RunError, match="no run"):
            runs.find(tmp_path, "")
        with pytest.raises(runs.RunError, match="no runs in"):
            runs.find(tmp_path / "none", "latest")


class TestRemove:
    def test_removes_a_finished_run(self, tmp_path: Path) -> None:
        run = make(tmp_path, "r", started(), finished())
        outside = tmp_path / "precious"
        outside.mkdir()
        (outside / "thesis").touch()
        (run / "snapshots").symlink_to(outside)
        runs.remove(run)
        assert not run.exists()
        assert (outside / "thesis").exists()

    def test_refuses_what_is_no_run(self, tmp_path: Path) -> None:
        foreign = tmp_path / "node-project"
        foreign.mkdir()
        (foreign / "config.json").write_text('{"name": "app"}')
        (foreign / "events.jsonl").write_text('{"user": 1}\n')
        for path in (foreign, tmp_path, foreign / "config.json", tmp_path / "none"):
            with pytest.raises(runs.RunError, match="not a run folder"):
                runs.remove(path, force=True)
        assert (foreign / "config.json").exists()

    def test_refuses_links_and_living_runs(self, tmp_path: Path) -> None:
        run = make(tmp_path, "r", started(time.time()))
        (tmp_path / "link").symlink_to(run)
        with pytest.raises(runs.RunError, match="symbolic link"):
            runs.remove(tmp_path / "link", force=True)
        with pytest.raises(runs.RunError, match="still running"):
            runs.remove(run)
        runs.remove(run, force=True)
        assert not run.exists()


class TestExport:
    def test_csv(self, tmp_path: Path) -> None:
        nan = float("nan")
        run = make(tmp_path, "r", started(), progress(1, train_loss=nan), evaluated(1))
        out = io.StringIO()
        runs.export(run, "csv", out)
        rows = list(csv.DictReader(io.StringIO(out.getvalue())))
        assert [row["type"] for row in rows] == ["run_started", "progress", "evaluated"]
        assert rows[1]["train_loss"] == "nan"
        assert rows[2]["latent_std"] == " ".join(["1.0"] * 8)

    def test_json(self, tmp_path: Path) -> None:
        run = make(tmp_path, "r", started(), Message(time=1.0, level="info", text='a "b"\n'))
        out = io.StringIO()
        runs.export(run, "json", out)
        values = json.loads(out.getvalue())
        assert values["config"]["dataset"] == "digits"
        assert values["events"][1]["text"] == 'a "b"\n'

    def test_refusals(self, tmp_path: Path) -> None:
        with pytest.raises(runs.RunError, match="csv or json"):
            runs.export(make(tmp_path, "r"), "xml", io.StringIO())
        with pytest.raises(runs.RunError, match="not a run"):
            runs.export(tmp_path, "csv", io.StringIO())


class TestCommands:
    def test_taken_once(self, tmp_path: Path) -> None:
        assert runs.take_command(tmp_path) is None
        runs.send_command(tmp_path, "pause")
        runs.send_command(tmp_path, "stop", reason="enough")
        command = runs.take_command(tmp_path)
        assert command is not None
        assert (command.name, command.args) == ("stop", {"reason": "enough"})
        assert runs.take_command(tmp_path) is None
        assert list(tmp_path.iterdir()) == []

    def test_unknown_and_garbage(self, tmp_path: Path) -> None:
        with pytest.raises(runs.RunError, match="pause, resume"):
            runs.send_command(tmp_path, "explode")
        for text in ("", "[]", "{", '{"command": "rm", "args": {}, "time": 1}', "[" * 100_000):
            (tmp_path / runs.COMMAND_FILE).write_text(text)
            assert runs.take_command(tmp_path) is None
            assert list(tmp_path.iterdir()) == []

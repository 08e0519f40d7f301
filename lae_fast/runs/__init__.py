"""Run folders: how a trainer leaves its story behind, and how viewers read and command it.

A run folder holds ``config.json`` (resolved settings), ``events.jsonl`` (append-only, one JSON
object per line), ``checkpoints/``, ``snapshots/`` and, for a moment, ``command`` (what a viewer
asks of the trainer). Folders are untrusted input: they may be empty, torn, foreign or hostile, and
nothing here follows what it finds without looking. Nothing here imports torch but `checkpoint` and
`verify`, which are therefore imported by their own names.
"""

from lae_fast.errors import RunError
from lae_fast.runs.commands import (
    STOP_AFTER,
    Command,
    last_answer,
    send_command,
    take_command,
)
from lae_fast.runs.files import COMMAND_FILE, CONFIG_FILE, EVENTS_FILE, LOG_FILE, read_config
from lae_fast.runs.folder import (
    EXPORT_FORMATS,
    create,
    export,
    find,
    folders,
    free_name,
    is_name,
    list_runs,
    remove,
    rename,
    sweeps,
    taken,
    write_config,
)
from lae_fast.runs.log import EventReader, RunWriter, read_ends
from lae_fast.runs.notes import matching, read_note, write_note
from lae_fast.runs.summary import Summary, is_run, summarise

__all__ = [
    "COMMAND_FILE",
    "CONFIG_FILE",
    "EVENTS_FILE",
    "EXPORT_FORMATS",
    "LOG_FILE",
    "STOP_AFTER",
    "Command",
    "EventReader",
    "RunError",
    "RunWriter",
    "Summary",
    "create",
    "export",
    "find",
    "folders",
    "free_name",
    "is_name",
    "is_run",
    "last_answer",
    "list_runs",
    "matching",
    "read_config",
    "read_ends",
    "read_note",
    "remove",
    "rename",
    "send_command",
    "summarise",
    "sweeps",
    "take_command",
    "taken",
    "write_config",
    "write_note",
]

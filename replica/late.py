"""What the command line looks up when it is called for: commands that bring rooms of their own, known by name and one line,
and the version."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any, NamedTuple


class Late(NamedTuple):
    """A command. `room`: its module; `add`, `run`: names in it; `file`: it takes FILE and --json from the command line, as
    most do."""

    help: str
    room: str
    add: str = "add_arguments"
    run: str = "run"
    file: bool = True


COMMANDS = {
    "import": Late(
        "import files of other systems; `import runs FILE` lists imports, `import undo FILE RUN` takes one back",
        "replica.exchange.commands_import",
    ),
    "export": Late("write a table, what changed in it, or a SELECT into a file", "replica.exchange.commands_export"),
    "map": Late("draft, check and list maps of files", "replica.exchange.commands_map", file=False),
    "profile": Late(
        "what is in a table or a file: how full, how varied, what looks wrong",
        "replica.exchange.commands_quality",
        "add_profile_arguments",
        "run_profile",
    ),
    "compare": Late(
        "compare two tables or files, record by record; exit 1 if they differ",
        "replica.exchange.commands_quality",
        "add_compare_arguments",
        "run_compare",
        file=False,
    ),
    "backup": Late(
        "copy a store into one verified file, encrypted with a key",
        "replica.backup.commands", "add_backup_arguments", "backup_run", file=False,
    ),
    "backup-key": Late(
        "make a random key for backups",
        "replica.backup.commands", "add_backup_key_arguments", "backup_key_run", file=False,
    ),
    "check-backup": Late(
        "prove every byte of a backup",
        "replica.backup.commands", "add_check_backup_arguments", "check_backup_run", file=False,
    ),
    "restore": Late(
        "make a store of a backup, as a new node of its group",
        "replica.backup.commands", "add_restore_arguments", "restore_run", file=False,
    ),
    "dump": Late(
        "write a whole database into a readable archive, for another installation",
        "replica.backup.commands", "add_dump_arguments", "dump_run", file=False,
    ),
    "load": Late(
        "make a database of a dump, as the first node of a new group",
        "replica.backup.commands", "add_load_arguments", "load_run", file=False,
    ),
}  # fmt: skip


class Parser(argparse.ArgumentParser):
    """A parser that learns its arguments when it is used."""

    late: Late | None = None
    _mixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but what has no name may also stand behind options: FILE --json URL."""
        if self.late is not None:
            late, self.late = self.late, None
            room = import_module(late.room)
            getattr(room, late.add)(self)
            self.set_defaults(run=getattr(room, late.run))
        if self._mixed or any(action.nargs in {argparse.PARSER, argparse.REMAINDER} for action in self._actions):
            return super().parse_known_args(args, namespace)
        self._mixed = True
        return self.parse_known_intermixed_args(args, namespace)


class Version(argparse.Action):
    """Print the version of the program, and end. argparse's own would look it up at each start."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"{parser.prog} {version('replica')}")
        parser.exit()

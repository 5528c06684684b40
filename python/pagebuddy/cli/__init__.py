"""The command ``pagebuddy``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pagebuddy import PagebuddyError, __version__
from pagebuddy.cli import boot, info, replay

__all__ = ["main"]

DESCRIPTION = """\
The page (buddy) allocator of Linux 5.17.9: ask what the kernel would do, page for page.
"""

EPILOG = """\
examples:
  pagebuddy info                 what is installed, and what it can do on this machine
  pagebuddy info --json          the same for a program
  pagebuddy boot --size 8G       what the allocator makes of a machine's memory
  pagebuddy replay FILE...       replay recordings of the real kernel and compare
  pagebuddy COMMAND --help       what a command does, with examples
"""

#: Every command module offers NAME, SUMMARY, add_arguments(parser) and run(arguments) -> exit status.
COMMANDS = (info, boot, replay)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="pagebuddy",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pagebuddy {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        command = commands.add_parser(
            module.NAME,
            help=module.SUMMARY,
            description=module.__doc__,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: The words after the command's name; those of this process by default.

    Returns:
        The exit status: 0 when all is well, 1 when a comparison failed, 2 when the input is unusable.
    """
    parsed = build_parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away, as `pagebuddy ... | head` does. Nothing more may be written, at exit neither.
        sys.stdout = None
        return 0
    except (PagebuddyError, OSError) as error:
        print(f"pagebuddy: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status

"""The flags of a command, declared in one line each."""

import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from functools import partialmethod
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from ..data.crops import VIEWS
from ..errors import UserError

Holder = flags.FlagHolder
# What absl and ml_collections raise for a wrong flag, field, config file or value.
MISTAKES = (flags.Error, AttributeError, KeyError, OSError, SyntaxError, TypeError, ValueError)


class CommandFlags:
    """The flags of one command, separate from other commands' flags of the same name.

    `LAYER = FLAGS.string("layer", "fc7", "Which layer.")` declares --layer, and `LAYER.value` is
    its value once the command line is parsed.

    Args:
      takes_arguments: whether the command takes other arguments than flags.

    Attributes:
      arguments: those of the parsed command line that are not flags.
      values: absl's flags by name.
    """

    def __init__(self, *, takes_arguments: bool = False) -> None:
        self.arguments: list[str] = []
        self.values = flags.FlagValues()
        self._takes_arguments = takes_arguments
        self._default_config: str | None = None
        self._configs: Path | None = None
        self._argv: list[str] = []
        self.boolean("help", False, "Show this help.", short_name="h")
        description = (
            "Run on this many CPU devices, shared by this host's processes, to try a mesh."
        )
        self.integer("cpu_devices", None, description, lower_bound=1)

    def _define(self, define: Any, name: str, *args: Any, **options: Any) -> Holder:
        return define(name, *args, flag_values=self.values, **options)

    # Each takes (name, default, description).
    string = partialmethod(_define, flags.DEFINE_string)
    boolean = partialmethod(_define, flags.DEFINE_bool)
    integer = partialmethod(_define, flags.DEFINE_integer)
    number = partialmethod(_define, flags.DEFINE_float)
    enum = partialmethod(_define, flags.DEFINE_enum)  # (name, default, choices, description)

    def config(
        self,
        default: str | None,
        description: str,
        *,
        required: bool = False,
        directory: str = "configs",
    ) -> Holder:
        """--config=FILE[:ARGUMENT], whose fields --config.FIELD=VALUE overrides.

        In place of FILE, the name of a file in `directory` suffices.
        """
        self._default_config = default  # ml_collections would load it here, even if not used
        self._configs = Path(directory)
        define = config_flags.DEFINE_config_file
        holder = self._define(define, "config", None, description, sys_argv=self._argv)
        self.values["config"].default_as_str = f"'{default}'"
        if required:
            flags.mark_flag_as_required("config", self.values)
        return holder

    @property
    def config_file(self) -> str:
        """FILE[:ARGUMENT] of the parsed command line."""
        return config_flags.get_config_filename(self.values["config"])

    def help(self) -> str:
        """The flags, and the names that --config takes."""
        text = self.values.get_help(include_special_flags=False)
        text = text.replace(CommandFlags.__module__, "Flags")
        if self._configs:
            names = ", ".join(sorted(self._names()))
            text += f"\n\nNames for --config, in {self._configs}:\n"
            text += textwrap.fill(names, 78, initial_indent="  ", subsequent_indent="  ")
            text += "\n\n--config.FIELD=VALUE sets a field; docs/configuration.md lists them all."
        return text

    def workdirs(self, description: str) -> Holder:
        """--workdir of the commands that take one run or several."""
        holder = self._define(flags.DEFINE_list, "workdir", None, description, required=True)
        message = "name a run directory, or several separated by commas"
        flags.register_validator(holder, lambda names: names and all(names), message, self.values)
        return holder

    def checkpoint(self) -> Holder:
        """--checkpoint of the commands that use a trained network."""
        return self.enum("checkpoint", "newest", ["newest", "best"], "Which checkpoint to use.")

    def views(self) -> Holder:
        """--views of the commands that classify."""
        holder = self.integer("views", None, "Views per image, averaged. Default: config.views.")
        message = f"choose one of {', '.join(map(str, VIEWS))}"
        flags.register_validator(holder, (None, *VIEWS).__contains__, message, self.values)
        return holder

    def parse(self, argv: Sequence[str]) -> None:
        """Parses a command line, without the command's name; nothing remains of an earlier one.

        Raises:
          UserError: a flag, its value or the config file is wrong, or an argument is not a flag.
        """
        self.arguments = []
        self.values.unparse_flags()
        for name in [name for name in self.values if "." in name]:
            delattr(self.values, name)  # an override of the earlier config
        sys.modules.pop("config_config", None)  # the earlier config file, to ml_collections
        argv = [_with_local_paths(_with_underscores(argument)) for argument in argv]
        argv = [self._with_file(argument) for argument in _joined(argv)]
        if self._default_config and not any(re.match("--?(config=|h(elp)?$)", a) for a in argv):
            argv = [f"--config={self._default_config}", *argv]
        self._argv[:] = ["command", *argv]
        try:
            self.arguments = self.values(self._argv)[1:]
            if "config" in self.values and self.values["config"].present:
                _ = self.values.config.keys  # raises the error of loading the file
        except MISTAKES as error:
            if not self.values["help"].value:
                raise UserError(_one_line(error)) from None
        if self.arguments and not self._takes_arguments:
            raise UserError(f"arguments: {self.arguments[0]!r} is not a flag, --NAME=VALUE")

    def _names(self) -> list[str]:
        files = self._configs.glob("*.py") if self._configs else ()
        return [file.stem for file in files if "def get_config(" in file.read_text()]

    def _with_file(self, argument: str) -> str:
        """--config=small:digits is --config=configs/small.py:digits."""
        name = re.fullmatch(r"--?config=(\w+)(:.*)?", argument)
        if not name or name[1] not in self._names():
            return argument
        return f"--config={self._configs}/{name[1]}.py{name[2] or ''}"


def _joined(argv: Sequence[str]) -> Iterator[str]:
    """--config FILE is --config=FILE."""
    arguments = iter(argv)
    for argument in arguments:
        follows = re.fullmatch("--?config", argument)
        yield f"--config={next(arguments, '')}" if follows else argument


def _with_underscores(argument: str) -> str:
    """--save-features is --save_features."""
    return re.sub(r"^--\w[^=.]*", lambda name: "--" + name[0][2:].replace("-", "_"), argument)


def _with_local_paths(argument: str) -> str:
    """Replaces ~ in --NAME=~/DIR, which shells leave; UserError for paths such as gs://DIR."""
    if "://" in argument:
        raise UserError(f"{argument}: URLs are not supported; give a local path")
    home = os.path.expanduser("~")
    return re.sub(r"(?:^|(?<=[=,:]))~(?=/|,|$)", lambda _: home, argument)


def _one_line(error: Exception) -> str:
    """The message of absl or ml_collections, without the traceback that the latter puts into it."""
    match error:
        case AttributeError(args=(KeyError(args=(field,)),)) | KeyError(args=(field,)):
            return f"--config: no field {field}"
        case flags.Error():
            message, _, trace = str(error).partition("Traceback (most recent call last):")
            return f"{message} {trace.strip().splitlines()[-1]}" if trace else message
    return f"--config: {error}"

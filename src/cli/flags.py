"""Flags that several commands have."""

from absl import flags

from ..data.crops import VIEWS


def new_flags() -> flags.FlagValues:
    """Flags of one command, apart from other commands' of the same name."""
    values = flags.FlagValues()
    flags.DEFINE_integer(
        "cpu_devices",
        None,
        "Run on so many CPU devices, which the processes on this host share, to try a mesh.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_bool("help", False, "Show this.", short_name="h", flag_values=values)
    return values


def define_workdirs(values: flags.FlagValues, words: str) -> flags.FlagHolder[list[str]]:
    """--workdir, of the commands that take one run or several."""
    holder = flags.DEFINE_list("workdir", None, words, required=True, flag_values=values)
    flags.register_validator(
        holder,
        lambda workdirs: workdirs is None or (workdirs and all(workdirs)),
        message="name a run's folder, or several with a comma between two",
        flag_values=values,
    )
    return holder


def define_checkpoint(values: flags.FlagValues) -> flags.FlagHolder[str]:
    """--checkpoint, of the commands that use a trained network."""
    return flags.DEFINE_enum(
        "checkpoint", "newest", ["newest", "best"], "Which to use.", flag_values=values
    )


def define_views(values: flags.FlagValues) -> flags.FlagHolder[int | None]:
    """--views, of the commands that classify."""
    words = "Of each image, averaged. Default: the recipe's."
    holder = flags.DEFINE_integer("views", None, words, flag_values=values)
    flags.register_validator(
        holder,
        lambda views: views is None or views in VIEWS,
        message=f"it is none of {', '.join(map(str, VIEWS))}",
        flag_values=values,
    )
    return holder

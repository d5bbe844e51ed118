"""The commands as facts: their groups, what each does, and their flags; and completion for shells.

A command is a module of `audioset_strong.tools`. Its first line of documentation is read without
importing it, so that a list of all commands costs no time.
"""

import ast
import dataclasses
import importlib
import importlib.util
import pathlib
import re
from collections.abc import Sequence

from absl import flags

PACKAGE = "audioset_strong.tools"
PREFIX = "audioset_strong"  # of the scripts: audioset_strong_train is the command train
GROUPS = {
    "Begin": ("demo", "make_corpus"),
    "Labels": ("import_labels", "label_stats", "frame_labels"),
    "Choosing what to label": ("select_clips", "import_answers"),
    "Data": ("convert", "index_dataset", "inspect_records", "plot_clip", "plot_augmentation"),
    "Training": ("train", "sweep", "teach", "upgrade_run"),
    "Evaluation": ("evaluate", "evaluate_events", "measure_scores", "report"),
    "Use of a model": ("predict", "export"),
}
SHELLS = BASH, ZSH = ("bash", "zsh")
# What absl adds to the help of flags with certain values, and of those that may be repeated.
_OF_ABSL = re.compile(r"^<[\w|]+>: |;\s+repeat this option to specify a list of values$")


def names() -> list[str]:
    """All commands, by their groups."""
    return [name for group in GROUPS.values() for name in group]


def summary(name: str) -> str:
    """What a command does, in one line."""
    return description(name).partition("\n")[0]


def description(name: str) -> str:
    """What a command does, with examples that can be pasted into a shell."""
    package = importlib.util.find_spec(PACKAGE)
    assert package is not None
    assert package.submodule_search_locations
    path = pathlib.Path(package.submodule_search_locations[0], f"{name}.py")
    return as_typed(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")


def as_typed(text: str) -> str:
    """A text in which commands are called what a user types, not what their file is called.

    >>> as_typed("beside train.py, trainer.py")
    'beside audioset_strong_train, trainer.py'
    """
    return re.sub(rf"\b({'|'.join(names())})\.py\b", rf"{PREFIX}_\1", text)


def overview() -> str:
    """All commands with their summaries, in groups."""
    width = max(map(len, names())) + 2
    blocks = [
        "\n".join([f"{title}:", *(f"  {name:{width}}{summary(name)}" for name in group)])
        for title, group in GROUPS.items()
    ]
    return "\n\n".join(blocks)


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag of a command.

    Attributes:
      name: without dashes.
      values: those that it may have; none where it takes any.
      takes_value: whether it is written `--name=value`; otherwise `--name` and `--noname`.
      required: whether the command does nothing without it.
      default: what holds where it is not given; None where that is nothing.
      help: what it is for.
    """

    name: str
    values: tuple[str, ...] = ()
    takes_value: bool = True
    required: bool = False
    default: str | None = None
    help: str = ""


def flags_of(name: str) -> list[Flag]:
    """The flags of a command, by name.

    Args:
      name: of the command. Its module must not have been imported: absl has one register of flags
        for a process, in which several commands cannot be together.
    """
    module = importlib.import_module(f"{PACKAGE}.{name}")
    defined = flags.FLAGS.get_key_flags_for_module(module)
    found = [
        Flag(
            name=flag.name,
            values=tuple(getattr(flag.parser, "enum_values", None) or ()),
            takes_value=not flag.boolean,
            required=_is_required(flag),
            default=_default(flag),
            help=as_typed(_OF_ABSL.sub("", flag.help)),
        )
        for flag in defined
    ]
    for flag in defined:
        delattr(flags.FLAGS, flag.name)
    return sorted(found, key=lambda flag: flag.name)


def _is_required(flag: flags.Flag) -> bool:
    """Whether a validator refuses that the flag is not given."""
    for validator in flag.validators:
        try:
            validator.verify(flags.FLAGS)
        except flags.ValidationError:
            return True
    return False


def _default(flag: flags.Flag) -> str | None:
    if flag.default in (None, [], ""):
        return None
    if flag.boolean:
        return str(flag.default).lower()
    return ",".join(flag.default) if isinstance(flag.default, list) else str(flag.default)


def completion(shell: str, flags_of_commands: dict[str, Sequence[Flag]]) -> str:
    """A script that makes a shell complete commands, flags, values and paths.

    Args:
      shell: one of `SHELLS`.
      flags_of_commands: name of each command -> its flags.
    """
    commands = [*flags_of_commands, "completion"]
    words, values = [], []
    for name, its_flags in flags_of_commands.items():
        written = [text for flag in its_flags for text in _as_written(flag)]
        words.append(f"    {name}) candidates='{' '.join(written)}' ;;")
        values += [
            f"    {name}:--{flag.name}) candidates='{' '.join(flag.values)}' ;;"
            for flag in its_flags
            if flag.values
        ]
    scripts = " ".join([PREFIX, *(f"{PREFIX}_{name}" for name in flags_of_commands)])
    template = {BASH: _BASH_COMPLETION, ZSH: _ZSH_COMPLETION}[shell]
    return template.format(
        commands=" ".join(commands),
        flags="\n".join(words),
        values="\n".join(values),
        shells=" ".join(SHELLS),
        scripts=scripts,
    )


def _as_written(flag: Flag) -> list[str]:
    return [f"--{flag.name}="] if flag.takes_value else [f"--{flag.name}", f"--no{flag.name}"]


# bash takes "--flag=value" for three words, unless its settings say otherwise.
_BASH_COMPLETION = """\
_audioset_strong() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
  local command="${{COMP_WORDS[0]##*/}}" flag="" before_value="" candidates=""
  command="${{command#audioset_strong}}"
  command="${{command#_}}"
  COMPREPLY=()
  if [ -z "$command" ]; then
    if [ "$COMP_CWORD" -eq 1 ]; then
      COMPREPLY=($(compgen -W '{commands}' -- "$current"))
      return
    fi
    command="${{COMP_WORDS[1]}}"
  fi
  case "$current" in
    =) flag="$before" current="" ;;
    --*=*) flag="${{current%%=*}}" before_value="$flag=" current="${{current#*=}}" ;;
    *) if [ "$before" = "=" ]; then flag="${{COMP_WORDS[COMP_CWORD-2]}}"; fi ;;
  esac
  if [ -n "$flag" ]; then
    case "$command:$flag" in
{values}
    esac
  else
    case "$command" in
{flags}
    completion) candidates='{shells}' ;;
    esac
  fi
  if [ -z "$flag" ] && [ "$command" != completion ] && [ "${{current:0:1}}" != - ]; then
    candidates=""
  fi
  if [ -n "$candidates" ]; then
    COMPREPLY=($(compgen -W "$candidates" -- "$current"))
    if [ -z "$flag" ] && [ "${{COMPREPLY[0]: -1}}" = "=" ]; then compopt -o nospace 2>/dev/null; fi
  else
    COMPREPLY=($(compgen -f -- "$current"))
    compopt -o filenames 2>/dev/null
  fi
  COMPREPLY=("${{COMPREPLY[@]/#/$before_value}}")
}}
complete -F _audioset_strong {scripts}
"""

# zsh has its own: its bridge to bash's functions takes what they return for whole words, so that no
# value behind "--flag=" would match, and has no way to leave out the space behind the sign.
_ZSH_COMPLETION = """\
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit; }}
_audioset_strong() {{
  local command="${{${{words[1]:t}}#audioset_strong}}" flag="" candidates=""
  command="${{command#_}}"
  if [[ -z $command ]]; then
    if (( CURRENT == 2 )); then
      compadd -- {commands}
      return
    fi
    command="${{words[2]}}"
  fi
  if [[ $PREFIX == --*=* ]]; then
    flag="${{PREFIX%%=*}}"
    compset -P '*='
    case "$command:$flag" in
{values}
    esac
  elif [[ $PREFIX == -* || $command == completion ]]; then
    case "$command" in
{flags}
    completion) candidates='{shells}' ;;
    esac
  fi
  if [[ -z $candidates ]]; then
    _files
    return
  fi
  compadd -- ${{${{=candidates}}:#*=}}
  compadd -S '' -- ${{(M)${{=candidates}}:#*=}}
}}
compdef _audioset_strong {scripts}
"""

from typing import Annotated, Literal

from cyclopts import Parameter

from omen_cli.options import Output
from omen_cli.output import print_one, say


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="For which shell.")],
    *,
    output: Output = "text",
) -> None:
    """
    Print a script that completes this command. It has all verbs and flags in it, so that a Tab starts no Python.

    Example: omen completion bash > ~/.local/share/bash-completion/completions/omen
    """
    from omen_cli.app import application  # noqa: PLC0415 - it knows all verbs, and this is one of them

    script = application().generate_completion(shell=shell)
    if output != "text":
        print_one(output, {"shell": shell, "script": script})
        return
    print(script)
    if shell == "zsh":
        say("Keep it as _omen in a directory of your fpath.")

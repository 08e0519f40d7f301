"""``lae completion``: the script that teaches a shell to complete ``lae``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that completes `lae` in your shell.

    \b
    Example:
      echo 'eval "$(lae completion bash)"' >> ~/.bashrc
      echo 'eval "$(lae completion zsh)"' >> ~/.zshrc
      lae completion fish > ~/.config/fish/completions/lae.fish
    """
    from lae_cli.main import lae

    kind = get_completion_class(shell)
    assert kind is not None  # click has all three
    try:
        script = kind(lae, {}, "lae", "_LAE_COMPLETE").source()
    except RuntimeError as error:  # bash is older than 4.4, or missing
        raise click.ClickException(str(error)) from error
    click.echo(script)

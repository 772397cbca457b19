"""The command line in this process, as a user meets it."""

from click.testing import Result
from typer.testing import CliRunner

from sluice.main import app


def sluice_says(*arguments: object, code: int = 0) -> Result:
    """Run a command in this process; it must end with this exit code and show no trace."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result

"""No network, at import or in tests: what is refused, what is not, and that the checks can fail."""

import os
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from support.no_network_plugin import attempts

# RFC 5737 and 2606: an address and a name that belong to nobody.
ADDRESS, NAME = ("203.0.113.1", 80), "nobody.invalid"
ATTEMPT = f"import socket; socket.create_connection({ADDRESS!r}, timeout=1)"

FORBID = "from support.no_network import forbid; forbid(); "
CHILD = """
import subprocess, sys
sys.exit(subprocess.call([sys.executable, "-c", "import socket; socket.socket()"]))
"""
COMMANDS = """
from typer.testing import CliRunner
from smoothcert.cli.main import app
COMMANDS = (
    "certify {model} --data digits --limit 2 --sigma 0.25 --n 100 --out {i}",
    "verify {i} --replay 100%",
    "report {i} --out report{i}",
)
for i, model in enumerate(("net.onnx", "small_cnn@net.safetensors", "bf16.pt2")):
    for command in COMMANDS:
        words = command.format(model=model, i=i)
        result = CliRunner().invoke(app, words.split())
        assert result.exit_code == 0, (words, result.output)
"""


def python(code: str, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=False,
        capture_output=True,
        text=True,
        **options,
    )


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: socket.create_connection(ADDRESS, timeout=1),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ADDRESS),
        lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
        lambda: socket.getaddrinfo(NAME, 80),
        lambda: socket.getaddrinfo(NAME.encode(), 80),
        lambda: socket.gethostbyname(NAME),
    ],
    ids=["connect", "send", "version 6", "name", "name in bytes", "old name"],
)
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_an_attempt_is_refused_and_noted(attempt):
    with pytest.raises(OSError, match="tests must not use the network"):
        attempt()
    assert attempts().count("\n") == 1


def test_it_is_refused_in_processes_too():
    result = python(ATTEMPT)
    assert "tests must not use the network" in result.stderr
    assert f"getaddrinfo of '{ADDRESS[0]}'" in attempts()


QUIET = f"""
import pytest, socket

def attempt():
    try:
        socket.create_connection({ADDRESS!r}, timeout=1)
    except OSError:
        pass

def test_fails():
    attempt()

@pytest.mark.refused("203.0.113.2")
def test_fails_too():
    attempt()

@pytest.mark.refused({ADDRESS[0]!r})
def test_may():
    attempt()

def test_does_not():
    pass
"""


@pytest.mark.slow
def test_a_swallowed_attempt_fails_its_test(tmp_path):
    (tmp_path / "test_quiet.py").write_text(QUIET)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = refused: see support\n")
    plugins = ("-p", "support.no_network_plugin", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *plugins, tmp_path]
    result = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert "4 passed, 2 errors" in result.stdout
    assert f"must not use the network: socket.getaddrinfo of '{ADDRESS[0]}'" in result.stdout
    assert "ERROR test_quiet.py::test_fails " in result.stdout
    assert "ERROR test_quiet.py::test_fails_too " in result.stdout


def test_this_machine_itself_can_be_reached(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1])).close()
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))
    assert attempts() == ""


def test_so_can_every_address_of_it():
    found = [a.address for list_ in psutil.net_if_addrs().values() for a in list_]
    for address in found:
        if ":" not in address:
            with socket.create_server((address, 0)) as server:
                socket.create_connection(server.getsockname(), timeout=5).close()
    assert "127.0.0.1" in found
    assert attempts() == ""


@pytest.fixture(scope="module")
def kernel():
    """Skips where the kernel cannot be asked."""
    result = python(FORBID)
    if result.returncode:
        pytest.skip(f"no filter for system calls: {result.stderr.splitlines()[-1]}")


@pytest.mark.parametrize(
    "opened",
    [
        "import socket; socket.socket()",
        "import socket; socket.socket(socket.AF_INET6)",
        "import ctypes; ctypes.CDLL(None).socket(2, 1, 0)",
        CHILD,
    ],
    ids=["version 4", "version 6", "native", "child"],
)
def test_the_kernel_sees_every_socket(opened, kernel):
    status = python(FORBID + opened).returncode
    assert status == -signal.SIGSYS or status == 256 - signal.SIGSYS


def test_the_kernel_lets_unix_sockets_be(kernel):
    assert (
        python(FORBID + "import socket; a, b = socket.socketpair(); a.send(b'x')").returncode == 0
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import smoothcert; [getattr(smoothcert, name) for name in dir(smoothcert)]",
        "from smoothcert.cli.main import app; app(['--help'])",
        COMMANDS,
    ],
    ids=["import", "help", "commands"],
)
def test_no_internet_socket_is_opened(code, kernel, models, tmp_path):
    for model in models.iterdir():
        os.link(model, tmp_path / model.name)
    result = python(FORBID + "\n" + code, cwd=tmp_path)
    assert result.returncode == 0, (result.returncode, result.stderr[-2000:])


def test_onnx_runtime_is_told_not_to_report_unless_the_user_said_otherwise():
    """Its releases do from the first session on; `commands` above is killed without this."""
    said = "import smoothcert, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    bare = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    assert python(said, env=bare).stdout == "1\n"
    assert python(said, env=bare | {"ORT_DISABLE_TELEMETRY": "0"}).stdout == "0\n"

"""A service with its endpoint, for clients that know nothing of Kobune."""

import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import orjson
import pytest

from kobune.host.endpoint import Endpoint, endpoint_file, read_endpoint
from kobune.host.layout import Layout

START_SECONDS = 60.0
REPOSITORY = Path(__file__).parents[2]


@dataclass
class Service:
    """`kobune serve` on a state directory of its own."""

    state_dir: Path
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)

    @property
    def endpoint(self) -> Endpoint:
        found = read_endpoint(Layout(self.state_dir))
        assert found is not None
        return found

    def start(self) -> None:
        """Start it, on the port it had before or on any; returns when it answers."""
        layout = Layout(self.state_dir)
        before = read_endpoint(layout)
        port = before.url.rpartition(":")[2] if before else "0"
        written = endpoint_file(layout).stat().st_mtime_ns if before else 0
        command = [sys.executable, "-m", "kobune", "serve", "--state-dir", str(self.state_dir), "--arm-port", port]
        with open(self.state_dir.with_suffix(".out"), "ab") as output:
            self.process = subprocess.Popen([*command, *self.options], stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        while not endpoint_file(layout).exists() or endpoint_file(layout).stat().st_mtime_ns == written:
            assert self.process.poll() is None, self.state_dir.with_suffix(".out").read_text()
            assert time.monotonic() < deadline, "the endpoint does not answer"
            time.sleep(0.05)

    def request(
        self, method: str, url: str, *, body: object = None, form: Mapping[str, str] | None = None, token: str = ""
    ):
        """Status, JSON and headers of one request."""
        data, headers = None, {"Accept": "application/json"}
        if body is not None:
            data, headers["Content-Type"] = orjson.dumps(body), "application/json"
        if form is not None:
            data = urlencode(form).encode()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = Request(url, data=data, headers=headers, method=method)
        context = ssl.create_default_context(cafile=self.endpoint.authority)
        try:
            with urlopen(request, context=context, timeout=60) as answer:
                content = answer.read()
                return answer.status, orjson.loads(content) if content else None, answer.headers
        except HTTPError as error:
            with error:
                content = error.read()
                return error.code, orjson.loads(content) if content else None, error.headers

    def call(self, method: str, path: str, body: object = None, *, version: str = "2026-06-01"):
        """Status, JSON and headers of one request to ARM; a path without a slash is below the subscription."""
        if not self.token:
            form = {
                "grant_type": "client_credentials",
                "client_id": self.endpoint.client_id,
                "client_secret": self.endpoint.client_secret,
                "scope": "https://management.azure.com/.default",
            }
            url = f"{self.endpoint.url}/{self.endpoint.tenant}/oauth2/v2.0/token"
            self.token = self.request("POST", url, form=form)[1]["access_token"]
        if path.startswith("https://"):
            url = path
        else:
            url = f"{self.endpoint.url}/subscriptions/{self.endpoint.subscription}/{path}?api-version={version}"
        return self.request(method, url, body=body, token=self.token)

    def kill(self) -> None:
        """As the machine's power cut does it to one process."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Leave nothing of the service and its clusters."""
        layout = Layout(self.state_dir)
        for name in layout.cluster_names():
            command = [
                sys.executable,
                "-m",
                "kobune",
                "down",
                "--cluster",
                name,
                "--purge",
                "--state-dir",
                str(self.state_dir),
            ]
            subprocess.run(command, check=False, capture_output=True, timeout=120)
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)


@dataclass(frozen=True)
class Az:
    """The real az, with a configuration folder of its own."""

    program: str
    environment: dict[str, str]

    def __call__(self, *arguments: str, fails: int = 0) -> object:
        """What az answered as JSON, or, when it is to fail with this exit status, its complaint."""
        done = subprocess.run(
            [self.program, *arguments, "--only-show-errors"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == fails, f"az {' '.join(arguments)}: {done.stderr or done.stdout}"
        if fails:
            return done.stderr
        try:
            return orjson.loads(done.stdout) if done.stdout.strip() else None
        except orjson.JSONDecodeError:
            return done.stdout


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose pools have simulated nodes unless a tag says otherwise."""
    running = Service(tmp_path_factory.mktemp("arm") / "state", ("--simulated", "--cores-quota", "2000"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def killed_service(tmp_path: Path) -> Iterator[Service]:
    """A service of one's own, for those that do not let it live long."""
    running = Service(tmp_path / "state", ("--simulated",))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def az(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Az:
    """The real az, signed in to the service by `kobune az --configure`."""
    program = REPOSITORY / ".venv-az" / "bin" / "az"
    found = str(program) if program.exists() else shutil.which("az")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("azure-cli is not there: make test-az-packages installs it")
        pytest.skip("azure-cli is not there: make test-az-packages installs it")
    environment = {
        **os.environ,
        "AZURE_CONFIG_DIR": str(tmp_path_factory.mktemp("az")),
        "AZURE_CORE_COLLECT_TELEMETRY": "false",
        "PATH": f"{Path(found).parent}:{os.environ['PATH']}",
        "REQUESTS_CA_BUNDLE": service.endpoint.bundle,
    }
    command = [sys.executable, "-m", "kobune", "az", "--configure", "--state-dir", str(service.state_dir)]
    # Its own interpreter stays first for kobune; az is found behind it.
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "export REQUESTS_CA_BUNDLE=" in done.stdout
    return Az(found, environment)


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory):
    """Runs kubectl with a kubeconfig."""
    if shutil.which("kubectl") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("kubectl is not on the PATH")
        pytest.skip("kubectl is not on the PATH")

    def run(kubeconfig: Path, *arguments: str) -> str:
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(kubeconfig), *arguments], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run

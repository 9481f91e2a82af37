"""The processes under test: a Stentor server with plugins, good ones and bad ones, and a Prometheus that reads it.

Both listen on 127.0.0.1 alone, on ports of their own, keep everything in a directory that goes with them, and are ended
by their process id however the test ends.
"""

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
BINARY = os.environ.get("STENTOR_BINARY", str(TARGET / "release" / "stentor"))
PLUGINS = ROOT / "plugins" / "built"
# For a server that lives for a minute, on the loopback interface.
SECRET = "a secret for a server that lives only as long as one test"
API_KEY = "a key for the application of a server that lives as long"
PATIENCE = 20  # seconds, for what normally takes milliseconds

# A development server, whose clients may ask as fast as they can and have to read what they get. Each plugin that
# misbehaves does so in rooms of its own, when a message says "trigger".
CONFIGURATION = f"""
development = true
listen = "127.0.0.1:0"
admin.listen = "127.0.0.1:0"
log.format = "json"
shards = 2

[auth]
jwks_url = "KEYS"

[[auth.keys]]
algorithm = "HS256"
secret = "{SECRET}"

[[api.keys]]
name = "application"
secret = "{API_KEY}"

[proxy]
trusted = ["127.0.0.1/32"]

[limits]
requests_per_second_max = 0
outbox_bytes_max = 262144

[[rooms]]
pattern = "ephemeral-*"
history = 0

[[plugins]]
name = "busy"
component = "{PLUGINS / "obedient.wasm"}"
on_failure = "open"
instances_max = 1
waiting_max = 1
quarantine_failures = 0
config.authorize = "loop"
config.interest = {{ events = ["join"], rooms = ["busy-*"] }}

[[plugins]]
name = "room-acl"
component = "bundled:room-acl"
[[plugins.config.rules]]
rooms = ["*"]

[[plugins]]
name = "message-policy"
component = "bundled:message-policy"
recycle_calls = 50
config.words = ["heck"]
"""
# A public key of RFC 7517, by which nobody signs here.
KEYS = {
    "keys": [
        {
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        }
    ]
}
MISBEHAVING = """
[[plugins]]
name = "{name}"
component = "{component}"
on_failure = "{on_failure}"
config.behaviour = "{behaviour}"
config.interest.rooms = ["{name}-*"]
"""


class Issuer(http.server.BaseHTTPRequestHandler):
    """Publishes keys."""

    def do_GET(self):
        body = json.dumps(KEYS).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def issuer():
    """The address of an issuer's keys."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/keys"
        finally:
            server.shutdown()


def configuration(keys):
    text = CONFIGURATION.replace("KEYS", keys)
    for name, behaviour, on_failure in [
        ("panics", "panic", "open"),
        ("loops", "loop", "open"),
        ("chatters", "flood-log", "open"),
        ("fails-closed", "trap", "closed"),
    ]:
        component = PLUGINS / "misbehaving.wasm"
        text += MISBEHAVING.format(name=name, behaviour=behaviour, on_failure=on_failure, component=component)
    return text


def token(user, expires_in=3600):
    """A JSON Web Token, signed by hand."""

    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    claims = {"sub": user, "exp": int(time.time()) + expires_in}
    text = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    signature = hmac.new(SECRET.encode(), text, hashlib.sha256).digest()
    return (text + b"." + part(signature)).decode()


def get(url):
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        return response.read().decode()


class Process:
    """A child that is ended by its id."""

    def __init__(self, command, directory, output):
        # Nothing of the environment that could configure it.
        self.process = subprocess.Popen(
            command, cwd=directory, env={"PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.DEVNULL, stderr=output,
        )

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Server(Process):
    def __init__(self, directory, keys):
        self.file = pathlib.Path(directory) / "stentor.toml"
        self.text = configuration(keys)
        self.file.write_text(self.text, encoding="utf-8")
        super().__init__([BINARY, "serve", "--config", str(self.file)], directory, subprocess.PIPE)
        self.client = self.admin = None
        self.last_lines = []
        self.listens = threading.Event()
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()
        if not self.listens.wait(PATIENCE) or self.client is None:
            self.stop()
            raise AssertionError("the server did not listen:\n" + "".join(self.last_lines))

    def read_log(self):
        for line in self.process.stderr:
            if self.client is None:
                self.last_lines.append(line)
                if '"listening"' in line:
                    told = json.loads(line)
                    self.client, self.admin = told["client"], told["admin"]
                    self.listens.set()
        self.listens.set()

    def reload(self, more=""):
        """Lets it read its configuration again, with something behind it."""
        new = self.file.with_suffix(".new")
        new.write_text(self.text + more, encoding="utf-8")
        new.rename(self.file)
        self.process.send_signal(signal.SIGHUP)

    def metrics(self):
        return get(f"http://{self.admin}/metrics")

    def stop(self):
        super().stop()
        self.reader.join()
        self.process.stderr.close()


class Prometheus(Process):
    """Reads a server every second, with the rules of the repository."""

    def __init__(self, program, directory, admin):
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        directory = pathlib.Path(directory)
        # JSON is YAML.
        settings = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in sorted((ROOT / "dashboards").glob("*.rules.yml"))],
            "scrape_configs": [{"job_name": "stentor", "static_configs": [{"targets": [admin]}]}],
        }
        (directory / "prometheus.yml").write_text(json.dumps(settings), encoding="utf-8")
        command = [
            program, "--config.file=prometheus.yml", f"--web.listen-address={self.address}",
            f"--storage.tsdb.path={directory / 'tsdb'}", "--log.level=warn",
        ]
        with open(directory / "prometheus.log", "w", encoding="utf-8") as log:
            super().__init__(command, directory, log)
        end = time.monotonic() + PATIENCE
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise AssertionError("Prometheus does not start: " + (directory / "prometheus.log").read_text())
            time.sleep(0.05)

    def is_ready(self):
        try:
            get(f"http://{self.address}/-/ready")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def api(self, path, **parameters):
        """What an endpoint of the API answers. A query that cannot be understood is an error."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            return json.loads(get(url))["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {json.loads(error.read())['error']}") from None

    def query(self, expression):
        """The samples that an expression has now: labels, and the value as a number."""
        data = self.api("query", query=expression)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(sample["metric"], float(sample["value"][1])) for sample in data["result"]]

    def query_range(self, expression, start, end, step):
        """The samples of a time span: labels, and pairs of time and value."""
        data = self.api("query_range", query=expression, start=start, end=end, step=step)
        return [
            (series["metric"], [(float(at), float(value)) for at, value in series["values"]])
            for series in data["result"]
        ]


@contextlib.contextmanager
def running(prometheus):
    """A server and the Prometheus that reads it."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="stentor-test-"))
        server = Server(directory, stack.enter_context(issuer()))
        stack.callback(server.stop)
        reader = Prometheus(prometheus, directory, server.admin)
        stack.callback(reader.stop)
        yield server, reader

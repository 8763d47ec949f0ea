"""Google's emulator of Pub/Sub for the demo: found, started, and given a topic with a subscription.

It comes with the package google-cloud-cli-pubsub-emulator, or by `gcloud components install`, and needs Java.
"""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

JAR = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"
SDKS = ("/usr/lib/google-cloud-sdk", "/usr/share/google-cloud-sdk", "/opt/google-cloud-sdk")
START_MAX_S = 30.0
POLL_S = 0.1
ACK_DEADLINE_S = 60
NO_EMULATOR = (
    "no emulator of Pub/Sub found: install google-cloud-cli-pubsub-emulator and Java, or set "
    "PUBSUB_EMULATOR_HOST to one that runs"
)


class EmulatorError(Exception):
    """There is no emulator, or it does not do what it is asked for; the message is one line."""


def emulator_jar() -> Path | None:
    """The emulator's program, where there is one."""
    roots = [Path(root) for root in SDKS] + [Path.home() / "google-cloud-sdk"]
    if gcloud := shutil.which("gcloud"):
        roots.append(Path(gcloud).resolve().parents[1])
    found = [jar for root in roots for jar in sorted(root.glob(JAR))]
    return found[-1] if found else None


def emulator_command(port: int) -> list[str]:
    """What starts it on a port of 127.0.0.1; EmulatorError where it cannot be."""
    jar, java = emulator_jar(), shutil.which("java")
    if jar is None or java is None:
        raise EmulatorError(NO_EMULATOR)
    return [java, "-Xmx1g", "-jar", str(jar), "--host=127.0.0.1", f"--port={port}"]


def make_topic(
    host: str, project: str, topic: str, subscription: str, process: "subprocess.Popen[str] | None"
) -> None:
    """A topic with a subscription, once the emulator answers; those that are there already will do.

    EmulatorError where it does not answer, or its `process` has ended.
    """
    deadline_s = time.monotonic() + START_MAX_S
    while not _answers(host):
        if time.monotonic() > deadline_s or (process is not None and process.poll() is not None):
            raise EmulatorError(f"the emulator of Pub/Sub at {host} did not start")
        time.sleep(POLL_S)
    name = f"projects/{project}/topics/{topic}"
    _put(host, name, {})
    wanted = {"topic": name, "ackDeadlineSeconds": ACK_DEADLINE_S, "enableMessageOrdering": True}
    _put(host, f"projects/{project}/subscriptions/{subscription}", wanted)


def _answers(host: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{host}/", timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _put(host: str, path: str, content: dict[str, object]) -> None:
    request = urllib.request.Request(
        f"http://{host}/v1/{path}",
        json.dumps(content).encode(),
        {"Content-Type": "application/json"},
        method="PUT",
    )
    try:
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:
        if error.code != 409:  # there already
            raise EmulatorError(f"the emulator of Pub/Sub at {host} refuses {path}: {error.code}") from error
    except OSError as error:
        raise EmulatorError(f"the emulator of Pub/Sub at {host} does not answer: {error}") from error

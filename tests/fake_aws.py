"""EC2's metadata service and the autoscaling API on a free loopback port, as far as an instance meets them.

Tokens are enforced as IMDSv2 does it. Calls to the API are kept, and checked against botocore's own model.
"""

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl

import botocore.session
from aiohttp import web
from botocore.validate import ParamValidator

INSTANCE = "i-0123456789abcdef0"
GROUP = "tickerd-fleet"
KEY = "ASIAFROMTHEROLE0"


class FakeAws:
    """The services. `pages` may be changed while they run; `calls` are what the API was asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.desired = 4
        self.failing = False  # the API answers 500
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.problems: list[str] = []
        self.untokened = 0
        self.pages: dict[str, str] = {
            "instance-id": INSTANCE,
            "placement/region": "eu-central-1",
            "placement/availability-zone": "eu-central-1a",
            "tags/instance/aws:autoscaling:groupName": GROUP,
            "autoscaling/target-lifecycle-state": "InService",
            "iam/security-credentials/": "tickerd-role",
            "iam/security-credentials/tickerd-role": json.dumps(
                {
                    "Code": "Success",
                    "Type": "AWS-HMAC",
                    "AccessKeyId": KEY,
                    "SecretAccessKey": "planted-role-secret",
                    "Token": "planted-session-token",
                    "LastUpdated": "2026-01-01T00:00:00Z",
                    "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6 * 3600)),
                }
            ),
        }
        self._tokens: set[str] = set()
        model = botocore.session.get_session().get_service_model("autoscaling")
        self._operations = {name: model.operation_model(name) for name in model.operation_names}

    @property
    def actions(self) -> list[str]:
        """The names of the calls, in order."""
        return [name for name, _ in self.calls]

    def forget_tokens(self) -> None:
        """As when the tokens have become too old."""
        self._tokens.clear()

    async def token(self, request: web.Request) -> web.Response:
        ttl = request.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if "X-Forwarded-For" in request.headers:
            return web.Response(status=403)
        if not ttl.isdigit() or not 1 <= int(ttl) <= 21_600:
            return web.Response(status=400)
        token = secrets.token_urlsafe(40)
        self._tokens.add(token)
        return web.Response(text=token)

    async def metadata(self, request: web.Request) -> web.Response:
        if request.headers.get("X-aws-ec2-metadata-token") not in self._tokens:
            self.untokened += 1
            return web.Response(status=401)
        text = self.pages.get(request.match_info["path"])
        return web.Response(status=404) if text is None else web.Response(text=text)

    async def api(self, request: web.Request) -> web.Response:
        fields = dict(parse_qsl((await request.read()).decode(), keep_blank_values=True))
        name = fields.pop("Action", "")
        fields.pop("Version", None)
        self.calls.append((name, fields))
        if f"Credential={KEY}/" not in request.headers.get("Authorization", ""):
            self.problems.append("not signed with the role's credentials")
        shape = self._operations[name].input_shape
        given = {key: [value] if key.endswith(".1") else value for key, value in fields.items()}
        given = {key.partition(".")[0]: value for key, value in given.items()}
        report = ParamValidator().validate(given, shape)
        if report.has_errors():
            self.problems.append(report.generate_report())
        if unknown := given.keys() - shape.members.keys():
            self.problems.append(f"{name} has no {unknown}")
        if self.failing:
            return web.Response(
                status=500, text="<ErrorResponse><Error><Code>InternalFailure</Code></Error></ErrorResponse>"
            )
        space = 'xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"'
        inner = ""
        if name == "DescribeAutoScalingGroups":
            inner = (
                f"<AutoScalingGroups><member><AutoScalingGroupName>{GROUP}</AutoScalingGroupName>"
                f"<DesiredCapacity>{self.desired}</DesiredCapacity></member></AutoScalingGroups>"
            )
        body = f"<{name}Response {space}><{name}Result>{inner}</{name}Result></{name}Response>"
        return web.Response(text=body, content_type="text/xml")

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_put("/latest/api/token", self.token)
        app.router.add_get("/latest/meta-data/{path:.*}", self.metadata)
        app.router.add_post("/", self.api)
        return app

    def environment(self) -> dict[str, str]:
        """What makes a daemon an instance of this EC2."""
        return {
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url,
            "AWS_ENDPOINT_URL_AUTO_SCALING": self.url,
        }


@contextmanager
def fake_aws() -> Iterator[FakeAws]:
    """The services in a thread of their own."""
    fake, started, loop = FakeAws(), threading.Event(), asyncio.new_event_loop()

    async def serve() -> web.AppRunner:
        runner = web.AppRunner(fake.application(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        fake.url = f"http://{host}:{port}"
        return runner

    def work() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(serve())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()

"""What `tickerd check --online` finds out about a topic: whether records could be published, now.

It asks for permissions and writes nothing. An emulator that knows no permissions is asked for the topic.
"""

from tickerd.findings import Finding, fails, works
from tickerd.pubsub.cause import CallError, NotReadyError
from tickerd.pubsub.client import GET_TOPIC, TEST_PERMISSIONS, PubSubClient
from tickerd.pubsub.wire import named_request, permissions_request, texts_of
from tickerd.settings import PubSub

ANSWER_MAX_S = 15.0
PUBLISH = "pubsub.topics.publish"


async def check_topic(settings: PubSub) -> list[Finding]:
    """Look at credentials, topic and permission; what depends on something missing is left out."""
    client = PubSubClient(settings)
    try:
        await client.open()
        how = "without TLS and credentials" if client.plain else "credentials: found"
        return [works(f"endpoint: {client.target}; {how}"), await _permission(client)]
    except NotReadyError as error:
        return [fails(f"Pub/Sub: {error}")]
    finally:
        await client.close()


async def _permission(client: PubSubClient) -> Finding:
    topic = client.topic
    try:
        asked = permissions_request(topic, PUBLISH)
        answer = await client.call(TEST_PERMISSIONS, ("resource", topic), asked, ANSWER_MAX_S)
        if PUBLISH in texts_of(answer, 1):
            return works(f"permission: {PUBLISH} is there on {topic}")
        return fails(f"permission: {PUBLISH} is missing on {topic}; give the account roles/pubsub.publisher")
    except CallError as error:
        if error.code != "UNIMPLEMENTED":
            return _refused(topic, error)
    try:
        await client.call(GET_TOPIC, ("topic", topic), named_request(topic), ANSWER_MAX_S)
    except CallError as error:
        return _refused(topic, error)
    return works(f"topic: {topic} is there; this endpoint knows no permissions")


def _refused(topic: str, error: CallError) -> Finding:
    what = "topic" if error.code == "NOT_FOUND" else "Pub/Sub"
    return fails(f"{what}: {topic}: {error.cause.message}")

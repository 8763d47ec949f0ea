"""Credentials and region for everything that talks to Kinesis: the daemon and the reading side.

All of it is the library's work; here is only what it is asked for.
"""

import ipaddress
from urllib.parse import urlsplit

from aiobotocore.credentials import (
    AioAssumeRoleCredentialFetcher,
    AioCredentials,
    AioDeferredRefreshableCredentials,
)
from aiobotocore.session import AioSession

LOOPBACK_REGION = "us-east-1"
LOOPBACK_KEY = "local"  # both halves of the pair that an endpoint on this machine gets when there is no other


def is_loopback(endpoint_url: str) -> bool:
    """Whether an endpoint is on this machine; no name but `localhost` is looked up."""
    host = urlsplit(endpoint_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def open_session(region: str, endpoint_url: str, role_arn: str) -> tuple[AioSession, str | None]:
    """A session with credentials (or without, where the chain has none), and its region, if one is known.

    Credentials come from the library's chain (environment, profile, web identity, container, IMDSv2) and
    refresh by themselves; `role_arn` is assumed from them. An endpoint on this machine needs none.
    """
    session = AioSession()
    loopback = is_loopback(endpoint_url)
    if loopback:
        # A role of the instance or the container is never meant for an endpoint on this machine, and asking
        # for one where there is none takes seconds.
        providers = session.get_component("credential_provider")
        for role in ("container-role", "iam-role"):
            providers.remove(role)
    credentials = await session.get_credentials()
    region = region or session.get_config_variable("region") or (LOOPBACK_REGION if loopback else "")
    if credentials is None and loopback:
        credentials = AioCredentials(LOOPBACK_KEY, LOOPBACK_KEY)
    elif credentials is not None and role_arn:
        fetcher = AioAssumeRoleCredentialFetcher(
            lambda service, **options: session.create_client(service, region_name=region or None, **options),
            credentials,
            role_arn,
            extra_args={"RoleSessionName": "tickerd"},
        )
        credentials = AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    session._credentials = credentials
    return session, region or None

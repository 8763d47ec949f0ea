"""The CloudFormation template: sound, created as far as moto goes, and no wider a role than is needed."""

import ast
import base64
import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tickerd.host.ec2 import TAG
from tickerd.host.group import HOOK
from tickerd.observe.embedded import GROUP, NAMESPACE

EC2 = Path(__file__).parents[1] / "systemd" / "ec2"
TEMPLATE = (EC2 / "template.yaml").read_text()
REGION = "eu-central-1"
DATABASE_USER = f"arn:aws:rds-db:{REGION}:123456789012:dbuser:db-ABC/tickerd"
# moto takes these for granted, without making them: what they say is checked by cfn-lint alone.
SKIPPED = {"AWS::AutoScaling::ScalingPolicy", "AWS::AutoScaling::WarmPool", "AWS::CloudWatch::Alarm"}


class Stack:
    """The stack in moto, and clients for what is in it."""

    def __init__(self, resources: dict[str, str], skipped: set[str], clients: dict[str, Any]) -> None:
        self.resources = resources
        self.skipped = skipped
        self.clients = clients


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The stack, created with a fleet's rate and a warm pool."""
    with warnings.catch_warnings(record=True) as said, pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("always")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        import boto3  # type: ignore[import-untyped] # noqa: PLC0415 - its warnings are nothing of ours
        from moto import mock_aws  # noqa: PLC0415

        with mock_aws():
            services = ("cloudformation", "ec2", "autoscaling", "kinesis", "elbv2", "iam")
            clients = {name: boto3.client(name, region_name=REGION) for name in services}
            ec2 = clients["ec2"]
            subnets = ec2.describe_subnets()["Subnets"]
            parameters = {
                "VpcId": subnets[0]["VpcId"],
                "SubnetIds": ",".join(subnet["SubnetId"] for subnet in subnets[:2]),
                "BundleBucket": "bundles",
                "ImageId": "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
                "FleetRecordsPerSecond": "20000",
                "WarmHosts": "1",
                "HostsMin": "2",
                "DatabaseUrl": "postgresql://tickerd@ticks.rds:5432/market",
                "DatabaseUser": "db-ABC/tickerd",
            }
            cloudformation = clients["cloudformation"]
            cloudformation.create_stack(
                StackName="ticks",
                TemplateBody=TEMPLATE,
                Parameters=[
                    {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
                ],
                Capabilities=["CAPABILITY_IAM"],
            )
            (described,) = cloudformation.describe_stacks(StackName="ticks")["Stacks"]
            assert described["StackStatus"] == "CREATE_COMPLETE"
            listed = cloudformation.list_stack_resources(StackName="ticks")["StackResourceSummaries"]
            made = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in listed}
            words = [str(each.message) for each in said]
            skipped = {kind for kind in SKIPPED if any(kind in word for word in words)}
            unknown = [word for word in words if "AWS::" in word and not any(k in word for k in SKIPPED)]
            assert unknown == []
            yield Stack(made, skipped, clients)


def test_the_template_is_sound() -> None:
    ran = subprocess.run(
        [
            Path(sys.executable).with_name("cfn-lint"),
            "--regions",
            REGION,
            "us-east-1",
            "--",
            EC2 / "template.yaml",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr


def test_it_is_created_but_for_what_is_known_to_be_passed_over(stack: Stack) -> None:
    assert stack.skipped == SKIPPED
    assert set(stack.resources) >= {
        *("Stream", "LogGroup", "Role", "Profile", "LaunchTemplate", "Group", "Balancer", "Listener"),
        *("TargetGroup", "BalancerSecurityGroup", "HostSecurityGroup"),
    }


def test_hosts_are_checked_by_readyz_and_ask_metadata_with_tokens(stack: Stack) -> None:
    ec2, elb = stack.clients["ec2"], stack.clients["elbv2"]
    (version,) = ec2.describe_launch_template_versions(LaunchTemplateId=stack.resources["LaunchTemplate"])[
        "LaunchTemplateVersions"
    ]
    options = version["LaunchTemplateData"]["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)
    (target,) = elb.describe_target_groups()["TargetGroups"]
    assert (target["HealthCheckPath"], target["Port"], target["HealthCheckIntervalSeconds"]) == (
        "/readyz",
        9631,
        10,
    )
    (group,) = stack.clients["autoscaling"].describe_auto_scaling_groups()["AutoScalingGroups"]
    assert (group["MinSize"], group["HealthCheckType"]) == (2, "ELB")
    assert group["AutoScalingGroupName"] == "ticks-hosts"


def test_the_user_data_is_a_script_that_installs_and_starts(stack: Stack) -> None:
    (version,) = stack.clients["ec2"].describe_launch_template_versions(
        LaunchTemplateId=stack.resources["LaunchTemplate"]
    )["LaunchTemplateVersions"]
    script = base64.b64decode(version["LaunchTemplateData"]["UserData"]).decode()
    assert script.startswith("#!/bin/bash\n")
    assert "${" not in script.replace("${...}", "")
    assert "TICKERD_RATE__FLEET_RECORDS_PER_SECOND=20000\n" in script
    assert (
        "\nTICKERD_DATABASE__URL=postgresql://tickerd@ticks.rds:5432/market\nTICKERD_DATABASE__IAM=true\n"
        in script
    )
    checked = subprocess.run(
        [shutil.which("bash") or "bash", "-n"], input=script, text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    agent = script.split("<<'AGENT'\n")[1].split("AGENT\n")[0]
    (collected,) = json.loads(agent)["logs"]["logs_collected"]["files"]["collect_list"]
    unit = (EC2 / "tickerd-metrics.service").read_text()
    assert f"> {collected['file_path']}'\n" in unit


def test_the_role_may_what_it_needs_and_no_more(stack: Stack) -> None:
    iam = stack.clients["iam"]
    role = stack.resources["Role"]
    document = iam.get_role_policy(RoleName=role, PolicyName="tickerd")["PolicyDocument"]
    if isinstance(document, str):  # as moto keeps what CloudFormation made
        document = ast.literal_eval(document)
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["tickerd"]
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    allowed: dict[str, str] = {}
    for statement in document["Statement"]:
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            assert "*" not in action
            allowed[action] = statement["Resource"]
    assert set(allowed) == {
        *("kinesis:PutRecords", "kinesis:ListShards", "kinesis:DescribeStreamSummary"),
        *("autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"),
        *(
            "autoscaling:DescribeAutoScalingGroups",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            "s3:GetObject",
            "rds-db:connect",
        ),
    }
    # The one action that knows no narrower resource.
    assert [action for action, where in allowed.items() if where == "*"] == [
        "autoscaling:DescribeAutoScalingGroups"
    ]
    # As for the others: one stream, one group (the star is its uuid), one object, one log group.
    for action, where in allowed.items():
        if action.startswith("kinesis:"):
            assert where == f"arn:aws:kinesis:{REGION}:123456789012:stream/{stack.resources['Stream']}"
        elif "Lifecycle" in action:
            assert where.startswith(f"arn:aws:autoscaling:{REGION}:123456789012:autoScalingGroup:*:")
            assert where.endswith(":autoScalingGroupName/ticks-hosts")
    assert allowed["rds-db:connect"] == DATABASE_USER
    assert allowed["s3:GetObject"] == "arn:aws:s3:::bundles/tickerd/bundle.tar.gz"
    assert allowed["logs:PutLogEvents"] == allowed["logs:CreateLogStream"]
    assert allowed["logs:PutLogEvents"].removesuffix(":*").endswith(":log-group:/tickerd/ticks")


def test_template_and_daemon_agree_on_names() -> None:
    assert f"LifecycleHookName: {HOOK}" in TEMPLATE
    assert TAG.startswith("tags/instance/")
    assert "InstanceMetadataTags: enabled" in TEMPLATE
    assert f"Namespace: {NAMESPACE}" in TEMPLATE
    assert f"Name: {GROUP}," in TEMPLATE
    assert TEMPLATE.index("Condition: HasFleetRate") > TEMPLATE.index("ScalingPolicy:")

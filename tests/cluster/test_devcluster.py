"""The development cluster does what the other cluster tests lean on; each of these is also true of any fit cluster."""

import pytest

from tests.cluster.support import OPS_IMAGE, apply, kubectl, pod, run_pod, wait_for

pytestmark = pytest.mark.cluster


def test_s3_from_here_and_from_a_pod(namespace, s3, settings):
    s3.client.put_object(Bucket=s3.bucket, Key=f"{s3.prefix}/a", Body=b"from the test")
    code = (
        "import boto3, os; c = boto3.client('s3'); b, k = os.environ['SPHINX_X_STORE'][5:].split('/', 1); "
        "print(c.get_object(Bucket=b, Key=k + '/a')['Body'].read().decode()); c.put_object(Bucket=b, Key=k + '/b', Body=b'from the pod')"
    )
    assert "from the test" in run_pod(namespace, pod("s3", OPS_IMAGE, ["python", "-c", code], envFrom=s3.env_from))
    assert s3.client.get_object(Bucket=s3.bucket, Key=f"{s3.prefix}/b")["Body"].read() == b"from the pod"

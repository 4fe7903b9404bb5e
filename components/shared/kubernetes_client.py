"""The one way to a Kubernetes API server: from a pod by its service account, from elsewhere by the kubeconfig.

Objects travel as the API's own JSON, so that nothing is lost on the way; the `kubernetes` package gives address, certificates and
credentials (also those that expire) and is imported late. Every failure is one sentence, with the HTTP status for who can use it.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from components.shared import platform
from components.shared.task import runs_here
from model.errors import SphinxError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS = 10.0, 30.0
GET_TRIES = 3
"""A question is asked again where the network or the server failed; whatever changes something is not."""

_GROUPS = {
    "pods": "/api/v1",
    "events": "/api/v1",
    "configmaps": "/api/v1",
    "secrets": "/api/v1",
    "trainjobs": "/apis/trainer.kubeflow.org/v1alpha1",
    "trainingruntimes": "/apis/trainer.kubeflow.org/v1alpha1",
    "jobsets": "/apis/jobset.x-k8s.io/v1alpha2",
    "jobs": "/apis/batch/v1",
    "workflows": "/apis/argoproj.io/v1alpha1",
}


class KubernetesError(SphinxError):
    """The API server does not answer, or refuses.

    Args:
        sentence: For a person.
        status: HTTP status; 0 where there was no answer.
        said: The server's own message.
    """

    def __init__(self, sentence: str, status: int = 0, said: str = "") -> None:
        super().__init__(sentence)
        self.status, self.said = status, said


def path_of(kind: str, namespace: str, name: str = "") -> str:
    """The API's path of a kind (plural, lower case) in a namespace, or of one object of it."""
    path = f"{_GROUPS[kind]}/namespaces/{namespace}/{kind}"
    return f"{path}/{name}" if name else path


def mounted_namespace() -> str | None:
    """The namespace of this pod's service account; None outside of a cluster."""
    file = SERVICE_ACCOUNT / "namespace"
    return file.read_text().strip() or None if file.is_file() else None


def namespace_to_train_in() -> str | None:
    """The namespace for a TrainJob; None to train on this machine."""
    if asked := os.environ.get(platform.TRAIN_NAMESPACE):
        return asked
    return None if runs_here() else mounted_namespace()


def trains_here() -> bool:
    """Whether training will run on this very machine, whose memory then bounds it."""
    return runs_here() and namespace_to_train_in() is None


class Kubernetes:
    """A client of one API server; safe to use from several threads.

    Args:
        api: `kubernetes.client.ApiClient`, which knows address and credentials.
    """

    def __init__(self, api: Any) -> None:
        self.api = api
        self.host = str(api.configuration.host)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """One object, or with a kind's path a list.

        Raises:
            KubernetesError: as all methods here; status 404 where it is not there.
        """
        for tried in range(1, GET_TRIES + 1):
            try:
                return self._request("GET", path, query)
            except KubernetesError as error:
                if tried == GET_TRIES or not (error.status == 0 or error.status == 429 or error.status >= 500):
                    raise
                time.sleep(0.5 * tried)
        raise AssertionError("unreachable")

    def create(self, path: str, body: dict[str, Any], **query: Any) -> dict[str, Any]:
        """Make an object; a field that the server does not know is refused, where it would else be dropped in silence."""
        return self._request("POST", path, {"fieldValidation": "Strict", **query}, body)

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Merge fields into an object (RFC 7386)."""
        return self._request("PATCH", path, {}, body, "application/merge-patch+json")

    def delete(self, path: str, timeout_seconds: float = READ_TIMEOUT_SECONDS) -> None:
        """Delete an object and, in the background, what it owns; nothing happens if it is not there."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        try:
            self._request("DELETE", path, {}, body, timeout_seconds=timeout_seconds)
        except KubernetesError as error:
            if error.status != 404:
                raise

    @contextmanager
    def lines(self, path: str, silence_seconds: float, **query: Any) -> Iterator[Iterator[str]]:
        """The lines of a reply that goes on: a watch, a log.

        Args:
            silence_seconds: Longest time without a word; then the reading ends with an error.
        """
        response = self._send("GET", path, query, None, None, silence_seconds, is_stream=True)
        try:
            yield self._lines_of(response, path)
        finally:
            # Closed, not returned to the pool: what is left of an endless reply must not be read.
            response.close()

    def _lines_of(self, response: Any, path: str) -> Iterator[str]:
        import urllib3

        rest = b""
        try:
            for block in response.stream(2**16, decode_content=True):
                *whole, rest = (rest + block).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._no_answer(path, error) from error
        if rest:
            yield rest.decode(errors="replace")

    def _request(
        self,
        method: str,
        path: str,
        query: dict[str, Any],
        body: dict[str, Any] | None = None,
        content: str = "application/json",
        timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> dict[str, Any]:
        response = self._send(method, path, query, body, content, timeout_seconds)
        try:
            return json.loads(response.data)
        except ValueError as error:
            raise self._no_answer(path, error) from error

    def _send(
        self, method: str, path: str, query: dict[str, Any], body: Any, content: str | None, timeout_seconds: float,
        is_stream: bool = False,
    ) -> Any:  # fmt: skip
        import urllib3

        headers: dict[str, str] = {"Accept": "application/json, */*"}
        if content:
            headers["Content-Type"] = content
        fields = [(name, str(value).lower() if isinstance(value, bool) else str(value)) for name, value in query.items()]
        self.api.update_params_for_auth(headers, fields, ["BearerToken"])
        words = urlencode(fields)
        try:
            response = self.api.rest_client.pool_manager.request(
                method,
                f"{self.host}{path}{'?' if words else ''}{words}",
                body=None if body is None else json.dumps(body),
                headers=headers,
                preload_content=not is_stream,
                retries=False,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=timeout_seconds),
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._no_answer(path, error) from error
        if response.status >= 400:
            text = response.data.decode(errors="replace")
            response.close()
            raise refusal(method, path, response.status, _message(text))
        return response

    def _no_answer(self, path: str, error: Exception) -> KubernetesError:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return KubernetesError(
            f"the Kubernetes API at {self.host} does not answer ({text}); check the network and that it runs.",
            said=f"{path}: {text}",
        )


def connect() -> Kubernetes:
    """The API server of this pod's cluster, or the kubeconfig's ($KUBECONFIG, ~/.kube/config).

    Raises:
        KubernetesError: there is neither, or the package is missing.
    """
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise KubernetesError("the package kubernetes is not installed; run: pip install 'sphinx-x[cluster]'.") from error
    configuration = client.Configuration()
    try:
        if (SERVICE_ACCOUNT / "token").is_file():
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(client_configuration=configuration)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise KubernetesError(f"no Kubernetes cluster is known here ({text}); set KUBECONFIG to a kubeconfig file.") from error
    # Watches and logs hold a connection each, beside the questions in between.
    configuration.connection_pool_maxsize = 16
    return Kubernetes(client.ApiClient(configuration))


def refusal(method: str, path: str, status: int, said: str) -> KubernetesError:
    """A status of 400 and above as one sentence.

    Args:
        said: The server's message.
    """
    said = " ".join(said.split())[:500]
    what = f"{_VERBS.get(method, method.lower())} {_object_of(path)}"
    if status == 401:
        remedy = "it does not accept the credentials; log in again, or check the pod's service account"
    elif status == 403 and (found := re.search(r'User "([^"]*)" cannot (\w+) resource "([^"]*)"', said)):
        user, verb, resource = found.groups()
        remedy = f"{user} may not {verb} {resource}; install the chart in this namespace, or give it the verb in a Role"
    elif status == 404 and "could not find the requested resource" in said:
        remedy = "the cluster does not know this kind; install Kubeflow Trainer and JobSet, as docs/cluster.md says"
    else:
        remedy = f"the API server says {status}: {said}"
    return KubernetesError(f"cannot {what}: {remedy}.", status, said)


_VERBS = {"GET": "read", "POST": "create", "PATCH": "change", "DELETE": "delete", "PUT": "replace"}


def _object_of(path: str) -> str:
    """'trainjobs/x in kubeflow' out of a path."""
    found = re.search(r"/namespaces/([^/]+)/(.+)$", path)
    return f"{found[2]} in {found[1]}" if found else path


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text

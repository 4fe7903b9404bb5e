"""The way to Kubeflow Pipelines' API: where it is, who asks, and what went wrong in one sentence.

Order: --endpoint, KFP_ENDPOINT, inside a cluster the Service ml-pipeline of the namespace, elsewhere the same Service through the
Kubernetes API that the kubeconfig names. The generated client `kfp_server_api` is light; the SDK `kfp` is never imported here.
"""

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from components.shared.kubernetes_client import KubernetesError, connect, mounted_namespace
from model.errors import SphinxError
from pipelines.cluster.config import KubeflowAddress

if TYPE_CHECKING:
    from kfp_server_api import ApiClient

ENDPOINT, TOKEN, TOKEN_FILE, NAMESPACE = "KFP_ENDPOINT", "KFP_TOKEN", "KF_PIPELINES_SA_TOKEN_PATH", "KFP_NAMESPACE"
DEFAULT_NAMESPACE = "kubeflow"
CONNECT_SECONDS, READ_SECONDS = 10, 60
MINIMUM = (2, 16)
"""The first version that reads `literals`, a pipeline's closed choices."""
HEALTH = "/apis/v2beta1/healthz"


class KubeflowError(SphinxError):
    """Kubeflow Pipelines does not answer, or refuses.

    Args:
        sentence: For a person.
        status: HTTP status; 0 where there was no answer.
    """

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Server:
    """What Kubeflow Pipelines says of itself."""

    version: str
    """As its image has it; empty where it does not say."""
    is_multi_user: bool

    @property
    def is_too_old(self) -> bool:
        """Known to be older than this project's pipelines need."""
        found = re.match(r"(\d+)\.(\d+)", self.version)
        return bool(found) and (int(found[1]), int(found[2])) < MINIMUM


class Connection:
    """Requests to one Kubeflow Pipelines; `call` turns every failure into a sentence.

    Args:
        api: The generated client, with address and credentials.
        namespace: Where pipelines run.
    """

    def __init__(self, api: "ApiClient", namespace: str) -> None:
        self.api, self.namespace = api, namespace
        self.endpoint = str(api.configuration.host)

    @classmethod
    def open(cls, endpoint: str = "", namespace: str = "", address: KubeflowAddress | None = None) -> Self:
        """A connection by what is given, the environment, and where this process runs; nothing is asked yet.

        Args:
            endpoint: Root of the API.
            namespace: Where pipelines run; else KFP_NAMESPACE, this pod's own, kubeflow.
            address: What a deployment's configuration says.

        Raises:
            KubeflowError: there is no way to one.
        """
        try:
            from kfp_server_api import ApiClient
        except ImportError as error:
            said = "the package kfp-server-api is not installed; run: pip install 'sphinx-x[cluster]'."
            raise KubeflowError(said) from error
        address = address or KubeflowAddress()
        namespace = namespace or os.environ.get(NAMESPACE) or mounted_namespace() or DEFAULT_NAMESPACE
        found = endpoint or address.endpoint or os.environ.get(ENDPOINT, "")
        if not found and mounted_namespace():
            found = f"http://ml-pipeline.{namespace}.svc:8888"
        configuration = _configuration(found, address) if found else _through_kubernetes(namespace)
        return cls(ApiClient(configuration), namespace)

    def call(self, method: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """One request of the generated client.

        Raises:
            KubeflowError: in one sentence, with the HTTP status.
        """
        import urllib3
        from kfp_server_api.exceptions import ApiException

        try:
            return method(*args, **named, _request_timeout=(CONNECT_SECONDS, READ_SECONDS))
        except ApiException as error:
            raise self.refusal(error.status or 0, _message(error.body or error.reason)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self.no_answer(error) from error
        except (ValueError, AttributeError, TypeError) as error:
            raise self._not_kubeflow(str(error)) from error

    def server(self) -> Server:
        """Version and mode.

        Raises:
            KubeflowError: it does not answer, or something else answers.
        """
        import urllib3

        client = self.api
        headers: dict[str, str] = {"Accept": "application/json"}
        client.update_params_for_auth(headers, [], ["Bearer"])
        try:
            response = client.rest_client.pool_manager.request(
                "GET",
                self.endpoint + HEALTH,
                headers={**client.default_headers, **headers},
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
                retries=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self.no_answer(error) from error
        text = response.data.decode(errors="replace")
        if response.status >= 400:
            raise self.refusal(response.status, _message(text))
        try:
            said = json.loads(text)
            version = str(said.get("tag_name", ""))
            return Server("" if version == "unknown" else version, bool(said.get("multi_user", False)))
        except (ValueError, AttributeError) as error:
            raise self._not_kubeflow(f"status {response.status}") from error

    def wait_until_ready(self, seconds: float) -> Server:
        """As `server`, patient with an API that is just starting.

        Raises:
            KubeflowError: it does not answer in time, or answers with a refusal.
        """
        end = time.monotonic() + seconds
        while True:
            try:
                return self.server()
            except KubeflowError as error:
                is_starting = error.status == 0 or error.status >= 500
                if not is_starting or time.monotonic() >= end:
                    raise
            time.sleep(2)

    def no_answer(self, error: Exception) -> KubeflowError:
        """What to do where nobody answers at all."""
        text = " ".join(f"{error}".split())[:200]
        if "CERTIFICATE" in text or "SSL" in text:
            remedy = "its certificate is not trusted; name its authority by --ca-file or kubeflow.ca_file"
        else:
            remedy = (
                f"check --endpoint ({ENDPOINT}), or open a way to it: "
                f"kubectl -n {self.namespace} port-forward svc/ml-pipeline 8888:8888, then --endpoint http://localhost:8888"
            )
        return KubeflowError(f"Kubeflow Pipelines does not answer at {self.endpoint} ({text}); {remedy}.")

    def refusal(self, status: int, said: str) -> KubeflowError:
        """An HTTP status as one sentence.

        Args:
            said: The server's own words.
        """
        if status in (401, 403):
            remedy = f"give a token that it accepts in {self.namespace} by {TOKEN} or {TOKEN_FILE}"
            sentence = f"Kubeflow Pipelines at {self.endpoint} refuses this user ({said}); {remedy}."
        elif status == 404 and 'services "ml-pipeline' in said:
            sentence = f"there is no Kubeflow Pipelines in namespace {self.namespace}; name its namespace by --namespace, or --endpoint."
        elif "unknown template format" in said:
            sentence = (
                f"Kubeflow Pipelines at {self.endpoint} cannot read this pipeline; it is older than "
                f"{'.'.join(map(str, MINIMUM))}, which this project needs: update it."
            )
        elif status >= 500:
            sentence = f"Kubeflow Pipelines at {self.endpoint} failed ({status}: {said}); its own log says more: ml-pipeline."
        else:
            sentence = f"Kubeflow Pipelines refuses: {said.rstrip('.')}."
        return KubeflowError(sentence, status)

    def _not_kubeflow(self, text: str) -> KubeflowError:
        return KubeflowError(
            f"what answers at {self.endpoint} is not Kubeflow Pipelines' API ({text[:120]}), perhaps a login page; give the root of "
            f"the API by --endpoint, and a token by {TOKEN} or {TOKEN_FILE}.",
            406,
        )


def _configuration(endpoint: str, address: KubeflowAddress) -> Any:
    """Address and credentials of an endpoint that is reached directly."""
    from kfp_server_api import Configuration

    if not re.match(r"https?://[^/]", endpoint):
        raise KubeflowError(f"the endpoint {endpoint} is no URL; write http://host:8888 or https://host/pipeline.")
    configuration: Any = Configuration(host=endpoint.rstrip("/"))
    if address.ca_file:
        configuration.ssl_ca_cert = address.ca_file
    token_file = address.token_file or os.environ.get(TOKEN_FILE, "")
    token = os.environ.get(TOKEN, "")

    def put_token(configuration: Any) -> None:
        try:
            words = Path(token_file).read_text(encoding="utf-8").strip() if token_file else token
        except OSError as error:
            raise KubeflowError(
                f"the token file {token_file} cannot be read ({error.strerror}); mount it, or unset it."
            ) from error
        if words:
            configuration.api_key["authorization"] = f"Bearer {words}"

    return _asking_each_time(configuration, put_token)


def _through_kubernetes(namespace: str) -> Any:
    """The Service by the Kubernetes API's proxy, with the kubeconfig's credentials."""
    from kfp_server_api import Configuration

    try:
        kubernetes = connect()
    except KubernetesError as error:
        raise KubeflowError(
            f"it is not known where Kubeflow Pipelines answers: give --endpoint or {ENDPOINT}, or a kubeconfig ({error})"
        ) from error
    its = kubernetes.api.configuration
    proxy = f"/api/v1/namespaces/{namespace}/services/ml-pipeline:8888/proxy"
    configuration: Any = Configuration(host=its.host.rstrip("/") + proxy)
    for name in ("ssl_ca_cert", "cert_file", "key_file", "verify_ssl", "proxy"):
        setattr(configuration, name, getattr(its, name))

    def put_token(configuration: Any) -> None:
        if words := its.auth_settings().get("BearerToken", {}).get("value"):
            configuration.api_key["authorization"] = words

    return _asking_each_time(configuration, put_token)


def _asking_each_time(configuration: Any, put_token: Callable[[Any], None]) -> Any:
    """Tokens change under a running program: ask for it now, so that a missing one is told at once, and before every request."""
    put_token(configuration)
    configuration.refresh_api_key_hook = put_token
    return configuration


def _message(text: Any) -> str:
    """The sentence inside a reply of the API."""
    try:
        said = json.loads(text)
        text = said.get("message") or said.get("error_message") or said.get("error") or text
    except (ValueError, AttributeError, TypeError):
        text = re.sub(r"<[^>]*>", " ", str(text))
    words = " ".join(str(text).split())
    # The server nests its sentences; the last one says what was wrong, those before it say where in its code.
    return re.split(r"\b\w*[Ee]rror: ", words)[-1][:600]

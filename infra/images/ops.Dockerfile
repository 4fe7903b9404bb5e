# ops: the tasks that need no torch (all but prepare, train and evaluate), the TrainJob launcher, the reaper, the uploader, and
# `mlflow server`. Built from the repository root; see README.md beside this file.
#
# BASE        any image with python3 (3.11 or later), its venv module and CA certificates
# GIT_SHA     commit that the code is of; registered models carry it
# VERSION     of the package
ARG BASE=docker.io/library/python:3.12-slim-bookworm

# The lock file becomes lists with hashes. Of kfp the images need the part that runs a component, which imports nothing else.
FROM ${BASE} AS lock
WORKDIR /build
COPY infra/images/uv.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r uv.txt
COPY pyproject.toml uv.lock ./
RUN export="/opt/uv/bin/uv export --quiet --frozen --no-default-groups --no-emit-project --no-annotate --no-header" \
 && $export --extra s3 --extra data --extra tracking --extra papertext --extra cluster >packages.txt \
 && $export --extra pipelines | awk '/^[^ ]/ { wanted = /^(kfp|kfp-server-api)==/ } wanted' >kfp.txt \
 && $export --extra train | awk '/^[^ ]/ { wanted = /^setuptools==/ } wanted' >build.txt

FROM ${BASE} AS code
COPY model /app/model
COPY components /app/components
COPY pipelines /app/pipelines
COPY infra/images/sphinx-x /app/bin/sphinx-x
RUN chmod -R a+rX,go-w /app && chmod 755 /app/bin/sphinx-x \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${BASE}
RUN echo 'sphinx-x:x:65532:65532::/tmp:/usr/sbin/nologin' >>/etc/passwd && echo 'sphinx-x:x:65532:' >>/etc/group
# Every version and hash is in the lists, so no dependency is looked up. Bytecode is bound to no time stamp: it stays valid when
# the layers' times are set to one date, and nothing is compiled on a read-only file system.
COPY --from=lock /build/*.txt /usr/share/sphinx-x/
ARG UV_CACHE_DIR=/root/.cache/uv
RUN --mount=type=bind,from=lock,source=/opt/uv,target=/opt/uv --mount=type=cache,target=/root/.cache/uv \
    export PYC_INVALIDATION_MODE=UNCHECKED_HASH UV_LINK_MODE=copy UV_SYSTEM_CERTS=1 UV_NO_PROGRESS=1 && cd /usr/share/sphinx-x \
 && /opt/uv/bin/uv venv --quiet --python "$(command -v python3)" /opt/venv \
 && /opt/uv/bin/uv pip install --quiet --python /opt/venv/bin/python --require-hashes --no-deps --compile-bytecode \
      --build-constraints build.txt -r packages.txt -r kfp.txt
ENV PATH=/app/bin:/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp LANG=C.UTF-8 GIT_PYTHON_REFRESH=quiet
USER 65532:65532
WORKDIR /
CMD ["sphinx-x", "--help"]
COPY --from=code /app /app
ARG GIT_SHA=unknown
ARG VERSION=0
ARG SOURCE=
ENV SPHINX_X_GIT_SHA=${GIT_SHA}
LABEL org.opencontainers.image.title="sphinx-x-ops" \
      org.opencontainers.image.description="SPHINX-X on Kubeflow: tasks on a CPU, TrainJob launcher, reaper, uploader" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${GIT_SHA}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"

# train: what loads the model with torch: the nodes of a TrainJob (DeepSpeed), prepare and evaluate. Built from the repository root;
# see README.md beside this file.
#
# BASE        any image of a Debian with python3 (3.11 or later), its venv module and CA certificates
# GIT_SHA     commit that the code is of
# VERSION     of the package
ARG BASE=docker.io/library/python:3.12-slim-bookworm

# The lock file becomes lists with hashes: torch with its CUDA libraries, which change seldom and are gigabytes; the rest;
# DeepSpeed, which is compiled; the part of kfp that runs a component.
FROM ${BASE} AS lock
WORKDIR /build
COPY infra/images/uv.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r uv.txt
COPY pyproject.toml uv.lock ./
RUN export="/opt/uv/bin/uv export --quiet --frozen --no-default-groups --no-emit-project --no-annotate --no-header" \
 && $export --extra train --extra registry --extra cluster >all.txt \
 && $export --extra pipelines | awk '/^[^ ]/ { wanted = /^kfp==/ } wanted' >kfp.txt \
 && awk '/^[^ ]/ { large = /^(torch|torchvision|triton|nvidia-(cu|nccl|nv)|cuda-|setuptools)/ } large' all.txt >torch.txt \
 && awk '/^[^ ]/ { small = !/^(torch|torchvision|triton|nvidia-(cu|nccl|nv)|cuda-|setuptools|deepspeed)/ } small' all.txt >packages.txt \
 && awk '/^[^ ]/ { wanted = /^deepspeed==/ } wanted' all.txt >deepspeed.txt

FROM ${BASE} AS code
COPY model /app/model
COPY components /app/components
COPY pipelines /app/pipelines
COPY infra/images/sphinx-x /app/bin/sphinx-x
RUN chmod -R a+rX,go-w /app && chmod 755 /app/bin/sphinx-x \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${BASE}
RUN echo 'sphinx-x:x:65532:65532::/tmp:/usr/sbin/nologin' >>/etc/passwd && echo 'sphinx-x:x:65532:' >>/etc/group
# triton and torch.compile call a C++ compiler with Python's headers at run time; Debian's Python has them in a package of its own.
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends g++ \
      $(test "$(command -v python3)" != /usr/bin/python3 || echo libpython3-dev) >/dev/null \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/ldconfig/aux-cache /usr/share/doc/* /usr/lib/python3*/config-*/*.a
# Every version and hash is in the lists, so no dependency is looked up. Bytecode is bound to no time stamp: it stays valid when
# the layers' times are set to one date, and nothing is compiled on a read-only file system.
ENV PYC_INVALIDATION_MODE=UNCHECKED_HASH UV_LINK_MODE=copy UV_SYSTEM_CERTS=1 UV_NO_PROGRESS=1
ARG UV_CACHE_DIR=/root/.cache/uv
ARG INSTALL="/opt/uv/bin/uv pip install --quiet --python /opt/venv/bin/python --require-hashes --no-deps --compile-bytecode"
COPY --from=lock /build/torch.txt /usr/share/sphinx-x/
RUN --mount=type=bind,from=lock,source=/opt/uv,target=/opt/uv --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv venv --quiet --python "$(command -v python3)" /opt/venv && $INSTALL -r /usr/share/sphinx-x/torch.txt
COPY --from=lock /build/packages.txt /build/kfp.txt /usr/share/sphinx-x/
RUN --mount=type=bind,from=lock,source=/opt/uv,target=/opt/uv --mount=type=cache,target=/root/.cache/uv \
    cd /usr/share/sphinx-x && $INSTALL -r packages.txt -r kfp.txt
# The one kernel that DeepSpeed needs on a CPU (gloo's all-reduce by shared memory) is compiled here: at run time it would take a
# minute on each node and write into the image. A GPU needs none: the optimizer is torch's own. Without debug information, which
# would hold the name of a temporary folder, the kernel is the same at each build.
COPY --from=lock /build/deepspeed.txt /usr/share/sphinx-x/
RUN --mount=type=bind,from=lock,source=/opt/uv,target=/opt/uv \
    PATH=/opt/venv/bin:$PATH CFLAGS=-g0 DS_ACCELERATOR=cpu DS_BUILD_OPS=0 DS_BUILD_SHM_COMM=1 \
    $INSTALL --no-cache --no-build-isolation -r /usr/share/sphinx-x/deepspeed.txt \
 && DS_ACCELERATOR=cpu /opt/venv/bin/python -c 'import deepspeed.ops.comm.deepspeed_shm_comm_op'
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
LABEL org.opencontainers.image.title="sphinx-x-train" \
      org.opencontainers.image.description="SPHINX-X on Kubeflow: training with DeepSpeed, evaluation" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${GIT_SHA}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"

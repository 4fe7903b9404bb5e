# The base where no registry is reachable: Debian 12 with its Python 3.11, out of a tree that debootstrap made (build.sh base).
# Elsewhere the other two Dockerfiles start from docker.io/library/python and this file is not needed.
FROM scratch AS tree
ADD base.tar /
RUN for suite in "debian bookworm" "debian bookworm-updates" "debian-security bookworm-security"; do \
      echo "deb http://deb.debian.org/$suite main"; done >/etc/apt/sources.list \
 && apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get upgrade -y -qq >/dev/null \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/ldconfig/aux-cache /usr/share/doc/* /usr/share/man/* /usr/share/locale/* \
 && find / -xdev -name __pycache__ -prune -exec rm -rf {} + \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3 /usr/lib/python3.11

FROM scratch
COPY --from=tree / /
ENV LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["python3"]

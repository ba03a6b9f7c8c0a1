# docker build -t backhaul .
# docker run -d --name tunnel --network host -v /etc/backhaul:/etc/backhaul:ro backhaul
#
# On the host's network a server's ports need no list here, and users' connections bypass Docker's proxy.
# --build-arg DIGEST=@sha256:… pins the base image; `docker pull python:3.13-slim` prints its digest.

ARG IMAGE=python:3.13-slim
ARG DIGEST=

FROM ${IMAGE}${DIGEST} AS build
WORKDIR /source
COPY pyproject.toml hatch_build.py constraints.txt README.md LICENSE ./
COPY docs/backhaul.1 ./docs/
COPY src ./src
RUN python -m venv --without-pip /opt/backhaul \
    && pip --python /opt/backhaul install --no-cache-dir --constraint constraints.txt '.[proxy,srv]'

FROM ${IMAGE}${DIGEST}
# The user id is fixed, so that files can be made readable for this user: chown 10001, chmod 600.
RUN groupadd --gid 10001 backhaul \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/backhaul --shell /usr/sbin/nologin backhaul \
    && install --directory --owner=backhaul --group=backhaul /var/lib/backhaul /run/backhaul
COPY --from=build /opt/backhaul /opt/backhaul
ENV PATH=/opt/backhaul/bin:$PATH RUNTIME_DIRECTORY=/run/backhaul STATE_DIRECTORY=/var/lib/backhaul
USER 10001:10001
# Relative paths in the configuration, such as sniffer_log's, start here. A client remembers protected servers here.
WORKDIR /var/lib/backhaul
VOLUME /var/lib/backhaul
# Healthy while the tunnel is connected.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["backhaul", "status"]
ENTRYPOINT ["backhaul"]
CMD ["-c", "/etc/backhaul/config.toml"]

# Last, so that a new revision changes no layer above.
ARG IMAGE
ARG DIGEST
ARG VERSION=0.1.0
ARG REVISION=
ARG CREATED=
ARG SOURCE=
LABEL org.opencontainers.image.title="backhaul" \
      org.opencontainers.image.description="Reverse tunnel for TCP and UDP through NAT and firewalls" \
      org.opencontainers.image.licenses="AGPL-3.0-only" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${IMAGE}${DIGEST}"

# The image of deweather: the server, and with it deweather-train and the client. No shell, no package manager, user
# 65532, at ease with a read-only root. deploy/image/build builds it with what is there: docker, podman or buildah.
# By hand (Docker before 23 wants DOCKER_BUILDKIT=1):
#
#   docker build -t deweather:0.1.0 .
#   docker build -t deweather:0.1.0-cuda --build-arg CUDA=1 .
#   docker build --target test .                                # builds and runs the tests
#
# Behind a proxy with certificates of its own, or with an index of one's own:
#
#   docker build --secret id=ca,src=CERTIFICATES --secret id=pip,src=PIP.CONF --build-arg DEBIAN=IMAGE .
#
# pip trusts CERTIFICATES and reads PIP.CONF, apt asks where IMAGE says. None of it gets into a layer.

# LibTorch and the Python packages have their versions in scripts/setup; Debian's are those of the day, with its security
# updates. A build that is to be repeated takes an image whose sources are of a day: --build-arg DEBIAN=IMAGE.
ARG DEBIAN=docker.io/library/debian:bookworm-slim

# What deweather is built with. A change of the sources leaves it as it is.
FROM ${DEBIAN} AS dependencies
ARG CUDA=0
ENV DEWEATHER_CUDA=${CUDA} DEWEATHER_DEPS=/opt/deweather PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY scripts/setup scripts/prelude.sh scripts/requirements.txt scripts/
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi && \
    PIP_CONFIG_FILE=/run/secrets/pip scripts/setup && \
    rm -rf /var/lib/apt/lists/*

FROM dependencies AS build
COPY . .
RUN --mount=type=cache,target=/root/.cache/ccache \
    preset=$(test "${DEWEATHER_CUDA}" = 1 && echo cuda || echo release) && \
    scripts/build "${preset}" deweather deweather-server deweather-train && \
    DESTDIR=/rootfs cmake --install "build/${preset}" --prefix /usr --strip && \
    deploy/image/rootfs /rootfs

FROM build AS test
RUN --mount=type=cache,target=/root/.cache/ccache \
    scripts/test "$(test "${DEWEATHER_CUDA}" = 1 && echo cuda || echo release)"

FROM scratch AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="deweather" \
      org.opencontainers.image.description="Takes rain, drops, snow and haze out of photos, over gRPC" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /rootfs /
USER 65532:65532
WORKDIR /
# Models, jobs and data sets.
VOLUME /var/lib/deweather
# gRPC, and metrics over HTTP.
EXPOSE 50051 9464
ENTRYPOINT ["/usr/bin/deweather-server"]
CMD ["--listen", "0.0.0.0:50051", "--metrics-listen", "0.0.0.0:9464", "--allow-plaintext-beyond-loopback", \
     "--data-dir", "/var/lib/deweather"]
# Of 127.0.0.1:50051, unless DEWEATHER_SERVER names another address.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/bin/deweather", "health"]

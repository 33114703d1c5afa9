# Python and the wheels are the ones that the tests run on.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build

# One lock serves development and production, and Python 3.11's pip checks hashes only for a list that it installs whole
# (newer ones also take them from a constraints file). So the whole lock is downloaded and checked here, and the image
# then gets what shardwise itself needs out of these files, with no index to fall back on; the build backend comes out
# of them too. What the extras name, servers, plots and development tools, stays behind in this stage.
COPY requirements.lock ./
RUN pip download --require-hashes --no-deps --only-binary :all: --requirement requirements.lock --dest wheels

COPY pyproject.toml README.md LICENSE ./
COPY domain domain
COPY shards shards
COPY stack stack
COPY activities activities
COPY workflows workflows
COPY workers workers
COPY tracing tracing
COPY shardwise shardwise
COPY contrast contrast
COPY cli cli
COPY migrations migrations
RUN python -m venv --without-pip /opt/shardwise \
    && pip --python /opt/shardwise/bin/python install --no-index --find-links wheels .

FROM python:${PYTHON_VERSION}-slim-trixie
ENV PATH=/opt/shardwise/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp
COPY --from=build /opt/shardwise /opt/shardwise
# A number, so that an orchestrator can tell that it is not root. It owns nothing and writes to /tmp only.
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["shardwise"]
CMD ["--help"]

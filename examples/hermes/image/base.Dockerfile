# What Hermes Agent needs, without Hermes: slow to make (a minute, 600 MB) and the same for every candidate.
# The CA bundle and the pip configuration of the host are mounted for the step and kept nowhere.
FROM debian:bookworm-slim
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      ca-certificates curl git procps python3 python3-venv rsync \
 && rm -rf /var/lib/apt/lists/*
ARG HERMES
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip,target=/etc/pip.conf \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
 && python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install -q --no-cache-dir --disable-pip-version-check \
      "hermes-agent[mcp]==${HERMES}" aiohttp==3.14.1 setuptools==81.0.0 pytest pytest-asyncio \
 && /opt/venv/bin/pip uninstall -q -y hermes-agent
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

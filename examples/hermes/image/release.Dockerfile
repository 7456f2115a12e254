# A release of Hermes as it was published, installed and compiled: what every candidate starts from. No network.
ARG HERMES
FROM hermes-base:${HERMES}
RUN --mount=type=bind,target=/source \
    rsync -rlpc --exclude=/.git --exclude=/Dockerfile /source/ /opt/hermes/ \
 && pip install -q --no-index --no-deps --no-build-isolation --disable-pip-version-check -e /opt/hermes \
 && python -m compileall -q /opt/hermes
RUN useradd --uid 10010 --create-home hermes && mkdir -p /data/hermes && chown -R hermes /data

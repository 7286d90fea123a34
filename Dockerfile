# One image for the worker, the API and the migrations; the command decides which it is:
#   callboard work · callboard api · callboard db upgrade · dramatiq actors
# docs/kubernetes.md tells how each is run.

FROM python:3.11-slim-bookworm AS build
# The environment has no pip of its own: what is not there cannot install anything in a running container.
RUN python3 -m venv --without-pip /opt/callboard
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# The lock is copied before the source, so that a change of code does not install 70 packages again.
COPY requirements.lock ./
# With hashes, so that a package that was replaced at its source stops the build.
# Wheels only, since a source package runs its author's build script here; yookassa is published in no other form.
RUN pip --python /opt/callboard/bin/python install --require-hashes --only-binary :all: --no-binary yookassa -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY actors ./actors
COPY middleware ./middleware
COPY callboard ./callboard
# The build backend comes from the lock too, not from wherever build isolation would fetch it, and goes again.
RUN pip --python /opt/callboard/bin/python install --no-deps --no-build-isolation . \
    && pip --python /opt/callboard/bin/python uninstall --yes setuptools

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Callboard" \
      org.opencontainers.image.description="Background jobs on Dramatiq and Postgres: email, reports, payments" \
      org.opencontainers.image.licenses="MIT"
# The base image's pip would be the last installer left.
RUN python3 -m pip uninstall --yes --root-user-action=ignore pip \
    && groupadd --gid 10001 callboard \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin callboard \
    # A new named volume takes its owner from the folder it covers; compose.yaml keeps reports here.
    && install --directory --owner=10001 --group=10001 /var/lib/callboard \
    # sslrootcert=system in DATABASE_URL relies on it.
    && test -s /etc/ssl/certs/ca-certificates.crt
# Owned by root and not writable by the user below: a job that is taken over cannot change the code.
COPY --from=build /opt/callboard /opt/callboard
# PYTHONUNBUFFERED: the last lines of a process that is killed must reach the log.
# PYTHONDONTWRITEBYTECODE: the build compiled everything, and the root file system is read-only.
# HOME: libraries that keep a cache or a lock find the one place that is writable.
# dramatiq_prom_db, dramatiq_prom_lock: Dramatiq 1.18 makes this folder when it is imported, whoever exports the metrics.
ENV PATH=/opt/callboard/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    dramatiq_prom_db=/tmp/dramatiq-prometheus \
    dramatiq_prom_lock=/tmp/dramatiq-prometheus.lock
# Settings look for .env where the process starts; nothing that runs here can write one into this folder.
WORKDIR /opt/callboard
# As a number, because runAsNonRoot cannot look up a name.
USER 10001:10001
# 3001: API. 9191: metrics and health of a worker.
EXPOSE 3001 9191
# No HEALTHCHECK: Kubernetes ignores it, and worker, API and migrations each need another one; k8s/ and compose.yaml have them.
# No ENTRYPOINT and no init: callboard work and dramatiq actors run as PID 1, pass SIGTERM on and wait for their children.
# Without a command the image lists its commands, instead of quietly being one of the three.
CMD ["callboard", "--help"]

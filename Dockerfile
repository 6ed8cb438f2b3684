# Four images from one file: `api` and `courier` are a few hundred MB, `worker` has PyTorch as well, `worker-vllm` vLLM.
#   docker build --target api .        docker build --target worker .        see docs/containers.md
# Stages stand in the order of what they fetch: the classic builder makes every stage above its target.

FROM python:3.11-slim AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

# Packages come before the project's own code, so that a change of the code installs nothing.
FROM base AS service-packages
# A mirror in place of pip's own package index, and who signs its certificate: PEM in base64.
ARG PIP_INDEX_URL=""
ARG MIRROR_CA=""
# The base's own pip fills the environment: no image of ours has one there.
ENV PIP_PYTHON=/opt/venv/bin/python
WORKDIR /build
RUN python -m venv --without-pip /opt/venv \
 && if [ -n "$MIRROR_CA" ]; then { cat /etc/ssl/certs/ca-certificates.crt; echo "$MIRROR_CA" | base64 -d; } > mirror.pem \
 && printf '[global]\ncert = /build/mirror.pem\n' > /etc/pip.conf; fi
COPY pyproject.toml constraints.txt ./
# With the packages of traces, which are imported only where traces are on.
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['traces'], sep='\n')" > service.txt \
 && pip install -c constraints.txt -r service.txt

# The user, its folders and the code; what differs below is packages and command.
FROM base AS runtime
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin sightline \
 && install -d -o sightline -g sightline /var/lib/sightline/blobs /var/lib/sightline/huggingface
WORKDIR /opt/sightline
COPY api api
COPY shared shared
COPY sightline sightline
COPY worker worker
COPY models/tiny models/tiny
COPY models.toml ./
# Whatever the umask of the checkout was, the user below can read it.
RUN chmod -R a+rX . && python -m compileall -q .
ENV HOME=/tmp \
    SIGHTLINE_MODELS_FILE=/opt/sightline/models.toml \
    SIGHTLINE_BLOBS__URL=/var/lib/sightline/blobs
USER 10001:10001
ENTRYPOINT ["python", "-m", "sightline"]

FROM runtime AS service
COPY --from=service-packages /opt/venv /opt/venv

FROM service AS api
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request as r; r.build_opener(r.ProxyHandler({}), r.HTTPSHandler(context=ssl._create_unverified_context())).open('http' + 's' * bool(os.getenv('SIGHTLINE_API__TLS_CERT')) + '://127.0.0.1:8000/health', timeout=4)"]
CMD ["api", "--host", "0.0.0.0"]

FROM service AS courier
ENV SIGHTLINE_HEARTBEAT_FILE=/tmp/heartbeat
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["sh", "-c", "find /tmp/heartbeat -mmin -1 | grep -q ."]
CMD ["courier"]

FROM service-packages AS worker-packages
ARG PIP_INDEX_URL=""
# cpu, or a CUDA build such as cu130; empty is what the package index gives, on Linux x86-64 a CUDA build.
ARG TORCH_BUILD=cpu
# Where pip finds such builds besides the package index.
ARG PIP_EXTRA_INDEX_URL=""
# The local version (`+cpu`) admits no other build: where the index has none, pip ends here and fetches nothing.
# torchvision with torch: of another build than torch's it breaks every model.
RUN pip install -c constraints.txt $(grep -E '^torch(vision)?==' constraints.txt | sed "s/$/${TORCH_BUILD:++$TORCH_BUILD}/") \
 || { echo "No PyTorch '$TORCH_BUILD' build: name its index in PIP_EXTRA_INDEX_URL (docs/containers.md)." >&2; exit 1; }
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; print(*p['worker'], *p['processors'], sep='\n')" > worker.txt \
 && pip install -c constraints.txt -r worker.txt
# 200 MB that only builders and testers of PyTorch itself use.
RUN cd /opt/venv/lib/python3*/site-packages/torch && rm -rf test include bin/protoc* bin/test_* bin/*Test

FROM runtime AS worker-runtime
ENV HF_HOME=/var/lib/sightline/huggingface \
    SIGHTLINE_HEARTBEAT_FILE=/tmp/heartbeat
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["sh", "-c", "find /tmp/heartbeat -mmin -1 | grep -q ."]
# For a pod of one model; `docker-compose.yml` has it run a node.
CMD ["worker"]

FROM worker-runtime AS worker
COPY --from=worker-packages /opt/venv /opt/venv

FROM service-packages AS vllm-packages
ARG PIP_INDEX_URL=""
# vLLM says itself which versions it needs, other than those of constraints.txt: pip complains of its FastAPI, which
# no worker imports.
RUN pip install "$(python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['dependency-groups']['vllm'])")"

FROM worker-runtime AS worker-vllm
USER root
# It compiles its kernels when it starts.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
USER 10001:10001
COPY --from=vllm-packages /opt/venv /opt/venv

# Two images from one wheel: `cpu` (the default) and `cuda`, both with the versions of constraints.txt.
# Uses only instructions that the classic builder of Docker 20.10 supports. That builder builds every stage before
# the requested one, so `cpu` comes before `cuda`, and the last line makes `cpu` the default.

FROM python:3.11-slim AS wheel
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY sentstream sentstream
COPY train train
RUN PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
    pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# Shared by both images: an unprivileged user, who needs to write only the requested outputs and
# /var/lib/sentstream, which keeps the names of instances (XDG_STATE_HOME). ONNX Runtime's telemetry is off.
FROM python:3.11-slim AS base
RUN groupadd --gid 10001 sentstream \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin sentstream \
 && install -d -o 10001 -g 10001 /data /var/lib/sentstream
ENV PATH=/opt/sentstream/bin:$PATH XDG_STATE_HOME=/var/lib \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ORT_DISABLE_TELEMETRY=1
LABEL org.opencontainers.image.title="sentstream" \
      org.opencontainers.image.description="Sentiment of tweets from RNNs: Arrow in, Arrow out" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /data
USER 10001:10001
STOPSIGNAL SIGTERM
EXPOSE 9464
ENTRYPOINT ["sentstream"]

# Dependencies come first, so that code changes do not rebuild this layer. The environment has no pip of its own.
FROM python:3.11-slim AS packages
WORKDIR /src
COPY constraints.txt pyproject.toml ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
[open(f'{extra}.txt', 'w').write('\n'.join([*project['dependencies'], *project['optional-dependencies']['fast-kafka'], \
*project['optional-dependencies'][extra]])) for extra in ('cpu', 'cuda')]" \
 && python -m venv --without-pip /opt/sentstream
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_CONSTRAINT=/src/constraints.txt

FROM packages AS cpu-packages
RUN pip --python /opt/sentstream/bin/python install -r cpu.txt
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/sentstream/bin/python install --no-deps /wheels/*.whl

FROM base AS cpu
COPY --from=cpu-packages /opt/sentstream /opt/sentstream

# CUDA 13 and cuDNN 9, which this onnxruntime-gpu is linked against, are installed as wheels, too; libcuda comes
# from the host's driver (580 or newer), through the NVIDIA Container Toolkit.
FROM packages AS cuda-packages
RUN pip --python /opt/sentstream/bin/python install -r cuda.txt "onnxruntime-gpu[cuda,cudnn]"
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/sentstream/bin/python install --no-deps /wheels/*.whl

FROM base AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=cuda-packages /opt/sentstream /opt/sentstream

FROM cpu

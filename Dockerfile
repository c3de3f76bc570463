# The light installation: `dsb2018 predict` in ONNX Runtime, without torch. docs/predict.md has the
# commands that build and run it.

# The Python that constraints.txt is tested with.
FROM python:3.11-slim AS build
# Extras of setup.py: --build-arg "EXTRAS=[vendor,cloud]"
ARG EXTRAS=""
WORKDIR /source
COPY setup.py pyproject.toml constraints.txt README.md LICENSE ./
COPY dsb2018 dsb2018
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
# Installed here and copied: a copied wheel would stay in the image, and Podman's cache overlooks
# changes of a wheel that is mounted from another stage.
RUN pip install --no-cache-dir --prefix /install --constraint constraints.txt \
    "$(echo /wheels/*.whl)$EXTRAS"

FROM python:3.11-slim
LABEL org.opencontainers.image.title="dsb2018" \
      org.opencontainers.image.description="Finds the nuclei of cells in microscopy images" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /install /usr/local
# Any user can write caches to /tmp, also one that is not in /etc/passwd.
ENV HOME=/tmp
# ONNX Runtime would report its use to its vendor.
ENV ORT_DISABLE_TELEMETRY=1
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["dsb2018"]
CMD ["--help"]

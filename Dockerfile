# The gateway and nothing else: one binary, ONNX Runtime, and the system libraries they load.
#
#   docker build -t tidegate .
#   docker run -v "$PWD/models:/models:ro" -p 8000-8002:8000-8002 tidegate
#
# The environment alone decides whether it keeps the contract of SageMaker, Vertex AI or Azure ML.
# For a GPU, another base and library go around the same program: docs/operating.md, "Container".
FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src

# What changes least comes first, so that it is built once: the library, then the dependencies.
COPY scripts/fetching.py scripts/setup_onnxruntime.py scripts/
RUN python3 scripts/setup_onnxruntime.py --into /onnxruntime
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches tests/it \
    && touch src/lib.rs tests/it/main.rs \
    && echo 'fn main() {}' | tee src/main.rs > benches/lease_and_choose.rs \
    && cargo build --locked --profile dist --features otlp --bin tidegate \
    && rm -r src
COPY src src
RUN touch src/main.rs src/lib.rs && cargo build --locked --profile dist --features otlp --bin tidegate

# Collects the program with exactly the system libraries that it and ONNX Runtime ask for.
COPY LICENSE ./
COPY deploy/image deploy/image
RUN mkdir -p /root-fs/opt/tidegate /root-fs/etc/ssl/certs /root-fs/etc/tidegate \
        /root-fs/models /root-fs/usr/share/licenses/tidegate \
    && cp target/dist/tidegate /root-fs/opt/tidegate/ \
    && cp -P /onnxruntime/*/lib/libonnxruntime.so* /root-fs/opt/tidegate/ \
    && for file in /root-fs/opt/tidegate/*; do ldd "$file" | grep -o '/[^ ]*' | grep -v root-fs; done \
        | sort -u | xargs -I{} cp -L --parents {} /root-fs \
    && cp -r --parents /usr/lib/locale/C.utf8 /root-fs \
    && cp /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/ \
    && cp deploy/image/passwd /root-fs/etc/passwd \
    && cp deploy/image/tidegate.toml /root-fs/etc/tidegate/ \
    && cp LICENSE /onnxruntime/*/ThirdPartyNotices.txt /root-fs/usr/share/licenses/tidegate/ \
    && cp /onnxruntime/*/LICENSE /root-fs/usr/share/licenses/tidegate/LICENSE-onnxruntime

FROM scratch
COPY --from=build /root-fs /
ENV PATH=/opt/tidegate LC_ALL=C.UTF-8
WORKDIR /etc/tidegate
USER 65532:65532
# 8080 is for SageMaker and Vertex AI, 5001 for Azure ML; the label lets SageMaker choose another.
EXPOSE 8000 8001 8002 8080 5001
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true
HEALTHCHECK --start-period=5m --interval=10s --timeout=5s CMD ["tidegate", "ready"]
ENTRYPOINT ["tidegate"]
CMD ["serve"]

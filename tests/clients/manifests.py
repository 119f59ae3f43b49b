#!/usr/bin/env python3
"""Checks deploy/kubernetes with Kubernetes' own schemas, and prints all of deploy as JSON lines."""

import json
import sys
from pathlib import Path

import kubernetes_validate
import yaml

# `preStop.sleep` and `appProtocol` are there from this version on.
OLDEST = "1.30"
# Read by kubectl and by KServe, not by Kubernetes.
OTHERS = {"Kustomization", "ClusterServingRuntime", "InferenceService"}


def main(deploy: Path) -> None:
    for path in sorted(deploy.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] not in OTHERS:
                for version in (OLDEST, kubernetes_validate.latest_version()):
                    kubernetes_validate.validate(document, version, strict=True)
            print(json.dumps({"file": str(path.relative_to(deploy)), "document": document}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

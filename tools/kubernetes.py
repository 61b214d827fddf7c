"""A validator of Kubernetes manifests with the published schemas, for the tests; works offline.

    python -m tools.kubernetes FILE…         # reports errors in manifests
    python -m tools.kubernetes --fetch       # builds and fetches, as before the tests

The validator is kubeconform, built with Go the first time. Kubernetes' own schemas, of an old and of the
newest release, come from the Python package kubernetes-validate; those of custom resources come from the Go
modules of the projects that define them. KEDA's schema leaves the settings of a trigger open; those are in
another file of KEDA's, see ``scalers()``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tools.fetched import BUILD, Unavailable, go, go_program, locked_once, run

KUBECONFORM = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"
SCHEMAS = "kubernetes-validate==1.37.0"
VERSIONS = ("1.29.0", "1.37.0")


class Definition(NamedTuple):
    """Where a custom resource is defined: a Go module, and a file in it."""

    module: str
    path: str


KEDA = "github.com/kedacore/keda/v2@v2.21.0"
DEFINITIONS = (
    Definition(KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
    Definition(KEDA, "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    Definition(
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
)
_SCALERS = "schema/generated/scalers-schema.json"


def kubeconform() -> Path:
    """Return the path of the validator."""
    return go_program(KUBECONFORM, "build the manifest validator with")


def schemas() -> Path:
    """Return the folder of the schemas, fetched the first time by one process for all."""
    folder = BUILD / "kubernetes-schemas"
    stamp = folder / "fetched"
    wanted = json.dumps([SCHEMAS, VERSIONS, DEFINITIONS])
    with locked_once(folder):
        if not stamp.exists() or stamp.read_text("utf-8") != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _fetch_own(folder)
            modules = {one.module: _module(one.module) for one in DEFINITIONS}
            for one in DEFINITIONS:
                _convert((modules[one.module] / one.path).read_text("utf-8"), folder)
            shutil.copyfile(modules[KEDA] / _SCALERS, folder / "scalers.json")
            stamp.write_text(wanted, "utf-8")
    return folder


def scalers() -> dict[str, dict[str, Any]]:
    """Return the settings that each KEDA scaler's triggers can have."""
    described = json.loads((schemas() / "scalers.json").read_text("utf-8"))["scalers"]
    return {one["type"]: {each["name"]: each for each in one["parameters"]} for one in described}


def problems(files: Sequence[Path]) -> list[str]:
    """Return the errors in manifests, one per line; empty if all are valid in all versions.

    Raises:
        Unavailable: The validator or the schemas are not available here.
    """
    program, folder = kubeconform(), schemas()
    errors = []
    for version in VERSIONS:
        schema_locations = (f"{folder}/{version}", str(folder))
        locations = [
            f"-schema-location={location}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
            for location in schema_locations
        ]
        command = [str(program), "-strict", "-output=json", "-verbose", *locations, *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        resources = json.loads(done.stdout)["resources"] if done.stdout else []
        if not resources:
            errors.append(f"no resource found: {done.stderr.strip()}")
        errors += [
            f"{one['filename']}: {one['kind']} {one['name']}, Kubernetes {version}: {one['msg']}"
            for one in resources
            if one["status"] != "statusValid"
        ]
    return errors


def _fetch_own(folder: Path) -> None:
    """Fetch Kubernetes' own schemas. They refer to definitions by URL, which is replaced by a file name."""
    with tempfile.TemporaryDirectory(dir=BUILD) as temporary:
        run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", temporary, SCHEMAS])
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for version in VERSIONS:
                (folder / version).mkdir()
                inside = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict/"
                for name in archive.namelist():
                    if name.startswith(inside) and name.endswith(".json"):
                        text = archive.read(name).decode().replace('"/api/_definitions', '"_definitions')
                        schema = {key: each for key, each in json.loads(text).items() if key != "$id"}
                        (folder / version / Path(name).name).write_text(json.dumps(schema), "utf-8")


def _module(module: str) -> Path:
    """Return the folder of a Go module's source."""
    command = [go("fetch the schemas of custom resources with"), "mod", "download", "-json", module]
    return Path(json.loads(run(command))["Dir"])


def _convert(definition: str, folder: Path) -> None:
    """Write the schema of each version of a custom resource, under the name that kubeconform expects."""
    import yaml

    spec = yaml.safe_load(definition)["spec"]
    group, kind = spec["group"].partition(".")[0], spec["names"]["kind"].lower()
    for version in spec["versions"]:
        schema = _closed(version["schema"]["openAPIV3Schema"])
        (folder / f"{kind}-{group}-{version['name']}.json").write_text(json.dumps(schema), "utf-8")


def _closed(schema: Any) -> Any:
    """Make a schema reject unknown fields, which the API server would drop; convert OpenAPI's extensions."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(each) for key, each in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        closed = {"oneOf": [{"type": "string"}, {"type": "integer"}]}
    return closed


def main() -> int:
    """Validate files, or only fetch what is needed."""
    parser = argparse.ArgumentParser(description="Validate Kubernetes manifests.")
    parser.add_argument("files", type=Path, nargs="*", help="manifests")
    parser.add_argument("--fetch", action="store_true", help="only build and fetch what is needed")
    options = parser.parse_args()
    try:
        if options.fetch:
            kubeconform()
            schemas()
            return 0
        errors = problems(options.files)
    except Unavailable as error:
        print(f"no manifest validator: {error}", file=sys.stderr)
        return 0 if options.fetch else 1
    for line in errors:
        print(line)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())

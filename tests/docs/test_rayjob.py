"""The manifest for Kubernetes: its fields are those of KubeRay's `RayJob`, and the command in it runs."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from cissl.tuning import cli, shipped, sweep_file

ROOT = Path(__file__).parents[2]
MANIFEST = yaml.safe_load((ROOT / "docs" / "how_to" / "rayjob.yaml").read_text(encoding="utf-8"))
CLUSTER = MANIFEST["spec"]["rayClusterSpec"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]

# Field → its type, of ray.io/v1 as KubeRay has it. An API server drops an unknown field in silence.
DOCUMENT = dict(apiVersion=str, kind=str, metadata=dict, spec=dict)
JOB = dict(
    entrypoint=str,
    backoffLimit=int,
    shutdownAfterJobFinishes=bool,
    ttlSecondsAfterFinished=int,
    activeDeadlineSeconds=int,
    rayClusterSpec=dict,
    runtimeEnvYAML=str,
    submissionMode=str,
    suspend=bool,
)
RAY_CLUSTER = dict(rayVersion=str, headGroupSpec=dict, workerGroupSpecs=list, enableInTreeAutoscaling=bool)
HEAD = dict(rayStartParams=dict, template=dict, serviceType=str)
WORKERS = dict(groupName=str, replicas=int, minReplicas=int, maxReplicas=int, rayStartParams=dict, template=dict)


@pytest.mark.parametrize(
    "given, fields, required",
    [
        (MANIFEST, DOCUMENT, set(DOCUMENT)),
        (MANIFEST["spec"], JOB, {"entrypoint", "rayClusterSpec"}),
        (CLUSTER, RAY_CLUSTER, {"headGroupSpec"}),
        (CLUSTER["headGroupSpec"], HEAD, {"rayStartParams", "template"}),
        *((group, WORKERS, set(WORKERS)) for group in CLUSTER["workerGroupSpecs"]),
    ],
)
def test_fields_are_those_of_a_rayjob(given, fields, required):
    assert required <= given.keys() <= fields.keys()
    assert {name: type(value) for name, value in given.items()} == {name: fields[name] for name in given}


def test_it_is_a_rayjob():
    assert (MANIFEST["apiVersion"], MANIFEST["kind"]) == ("ray.io/v1", "RayJob")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,45}[a-z0-9])?", MANIFEST["metadata"]["name"])  # KubeRay adds to it


@pytest.mark.parametrize("group", GROUPS)
def test_each_pod_has_what_it_mounts_and_the_image_has_the_clusters_version(group):
    assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    pod = group["template"]["spec"]
    (container,) = pod["containers"]
    claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == claims.keys()
    assert container["image"].rpartition(":")[2] == CLUSTER["rayVersion"]
    assert container["resources"]["requests"] == container["resources"]["limits"]


def test_its_ray_is_one_that_cissl_takes():
    setup = (ROOT / "setup.cfg").read_text()
    (requirement,) = (Requirement(line.strip()) for line in setup.splitlines() if line.strip().startswith("ray[train"))
    assert requirement.specifier.contains(CLUSTER["rayVersion"])


def test_its_command_finds_the_sweep_and_writes_to_the_volume():
    program, *words = shlex.split(MANIFEST["spec"]["entrypoint"])
    options = cli._parser().parse_args(words)
    assert program == "cissl-sweep" and sweep_file.load(shipped.locate(options.file)).trials
    for group in GROUPS:
        (container,) = group["template"]["spec"]["containers"]
        (mount,) = container["volumeMounts"]
        (data,) = (pair["value"] for pair in container["env"] if pair["name"] == "ML_DATA")
        assert all(Path(mount["mountPath"]) in Path(path).parents for path in (options.storage_path, data))

"""What fields the manifests of deploy/ may have, from the models of Kubeflow's Python packages.

Writes tests/deploy/golden/schemas.json: type -> field -> type of the field; "!" after a field's name means that it is
required, [T] is a list, {T} a mapping. Needs kubeflow-trainer-api (Trainer v2, JobSet, pods) and kubeflow-training (PyTorchJob,
run policies; its source is read, not imported). No package has MPIJob v2beta1; its few fields are written down here.
"""
import ast
import datetime
import importlib.util
import json
import pathlib
import typing

from kubeflow_trainer_api import models
from pydantic import BaseModel

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/deploy/golden/schemas.json"
ROOTS = ["TrainerV1alpha1TrainJob", "TrainerV1alpha1ClusterTrainingRuntime", "TrainerV1alpha1TrainingRuntime",
         "IoK8sApiCoreV1PodTemplateSpec"]
POD = "IoK8sApiCoreV1PodTemplateSpec"
# Long, and in no manifest of ours: anything goes.
OPEN = {"IoK8sApimachineryPkgApisMetaV1ObjectMeta"}
OTHER_VOLUMES = {"awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "downwardAPI", "fc", "flexVolume",
                 "flocker", "gcePersistentDisk", "gitRepo", "glusterfs", "image", "iscsi", "nfs", "photonPersistentDisk",
                 "portworxVolume", "projected", "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume"}
MPI = {
    "MPIJob": {"apiVersion!": "str", "kind!": "str", "metadata!": "any", "spec!": "MPIJobSpec", "status": "any"},
    "MPIJobSpec": {"mpiReplicaSpecs!": "{ReplicaSpec}", "slotsPerWorker": "int", "runLauncherAsWorker": "bool",
                   "sshAuthMountPath": "str", "launcherCreationPolicy": "str", "mpiImplementation": "str",
                   "runPolicy": "MPIRunPolicy"},
}


def word(kind, found):
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Union:
        return word([a for a in args if a is not type(None)][0], found)
    if origin is typing.Annotated:
        return word(args[0], found)
    if origin is list:
        return f"[{word(args[0], found)}]"
    if origin is dict:
        return "{" + word(args[1], found) + "}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        name = kind.__name__
        if name in OPEN or name.endswith(("Quantity", "IntOrString")) or set(kind.model_fields) == {"actual_instance"} or "any_of_schemas" in kind.model_fields:
            return "any"
        walk(kind, found)
        return name
    return {str: "str", int: "int", bool: "bool", float: "float", datetime.datetime: "str"}.get(kind, "any")


def walk(model, found):
    name = model.__name__
    if name in found:
        return
    found[name] = fields = {}
    for attribute, field in model.model_fields.items():
        key = field.alias or attribute
        if name == "IoK8sApiCoreV1Volume" and key in OTHER_VOLUMES:
            continue
        fields[key + ("!" if field.is_required() else "")] = word(field.annotation, found)


def training_model(name):
    """The fields of a model of kubeflow-training, from its source."""
    folder = pathlib.Path(importlib.util.find_spec("kubeflow").submodule_search_locations[0]) / "training/models"
    tree = ast.parse((folder / f"{name}.py").read_text())
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("openapi_types", "attribute_map"):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    required = {a for a in found["openapi_types"] if f"`{a}`, must not be `None`" in (folder / f"{name}.py").read_text()}
    short = {"V1PodTemplateSpec": POD, "KubeflowOrgV1ReplicaSpec": "ReplicaSpec", "KubeflowOrgV1RunPolicy": "RunPolicy",
             "KubeflowOrgV1SchedulingPolicy": "SchedulingPolicy", "KubeflowOrgV1ElasticPolicy": "ElasticPolicy",
             "KubeflowOrgV1PyTorchJobSpec": "PyTorchJobSpec", "str": "str", "int": "int", "bool": "bool"}
    out = {}
    for attribute, kind in found["openapi_types"].items():
        inner = kind[len("dict(str, "):-1] if kind.startswith("dict(") else kind[5:-1] if kind.startswith("list[") else kind
        name = short.get(inner, "any")
        name = "{" + name + "}" if kind.startswith("dict(") else f"[{name}]" if kind.startswith("list[") else name
        out[found["attribute_map"][attribute] + ("!" if attribute in required else "")] = name
    return out


def main():
    found = {}
    for root in ROOTS:
        walk(getattr(models, root), found)
    found["PyTorchJob"] = {"apiVersion!": "str", "kind!": "str", "metadata!": "any", "spec!": "PyTorchJobSpec", "status": "any"}
    for name, file in (("PyTorchJobSpec", "py_torch_job_spec"), ("ReplicaSpec", "replica_spec"), ("RunPolicy", "run_policy"),
                       ("SchedulingPolicy", "scheduling_policy"), ("ElasticPolicy", "elastic_policy")):
        found[name] = training_model(f"kubeflow_org_v1_{file}")
    found.update(MPI)
    found["MPIRunPolicy"] = found["RunPolicy"] | {"managedBy": "str"}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()

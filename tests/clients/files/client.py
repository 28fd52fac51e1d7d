"""What scripts do with the official Python client: the dynamic client, and a watch."""
import threading

import kubernetes
from kubernetes.dynamic import DynamicClient

api = kubernetes.config.new_client_from_config()
client = DynamicClient(api)

maps = client.resources.get(api_version="v1", kind="ConfigMap")
core = kubernetes.client.CoreV1Api(api)

seen = []
started = core.list_namespaced_config_map("default").metadata.resource_version


def watch():
    stream = kubernetes.watch.Watch()
    for event in stream.stream(core.list_namespaced_config_map, "default", resource_version=started,
                               field_selector="metadata.name=py", timeout_seconds=120):
        seen.append(event["type"])
        if event["type"] == "DELETED":
            stream.stop()


watching = threading.Thread(target=watch)
watching.start()
made = maps.create(namespace="default", body={"metadata": {"name": "py", "labels": {"by": "python"}}, "data": {"a": "1"}})
assert made.metadata.resourceVersion
found = maps.get(namespace="default", label_selector="by=python")
assert [item.metadata.name for item in found.items] == ["py"], found
applied = maps.server_side_apply(namespace="default", name="py", field_manager="script", force_conflicts=True,
                                 body={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "py"}, "data": {"a": "2"}})
assert applied.data["a"] == "2"
patched = maps.patch(namespace="default", name="py", content_type="application/merge-patch+json", body={"data": {"b": "3"}})
assert patched.data["b"] == "3"
maps.delete(namespace="default", name="py")
try:
    maps.get(namespace="default", name="py")
    raise SystemExit("still there")
except kubernetes.dynamic.exceptions.NotFoundError:
    pass
watching.join(timeout=150)
print("dynamic client: created, listed, applied, patched, deleted")
types = [kind for i, kind in enumerate(seen) if i == 0 or seen[i - 1] != kind]
print("watch:", *types)

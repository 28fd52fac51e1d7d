"""A small kopf operator: notes each Widget's size in its status, and holds it with a finalizer."""
import kopf


@kopf.on.create("example.com", "v1", "widgets")
@kopf.on.update("example.com", "v1", "widgets")
def sized(spec, patch, **_):
    patch.status["seen"] = spec["size"]


@kopf.on.delete("example.com", "v1", "widgets")
def gone(name, **_):
    print(f"deleting {name}", flush=True)

// What programs do with the official JavaScript client: an informer, and the untyped object API.
import * as k8s from "@kubernetes/client-node";

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const seen = [];
const list = () => core.listNamespacedConfigMap({ namespace: "default" });
const informer = k8s.makeInformer(config, "/api/v1/namespaces/default/configmaps", list);
const done = new Promise((resolve, reject) => {
  const note = (what) => (object) => {
    if (object.metadata.name !== "js") return;
    seen.push(`${what} js`);
    if (what === "delete") resolve();
  };
  for (const what of ["add", "update", "delete"]) informer.on(what, note(what));
  informer.on("error", reject);
  setTimeout(() => reject(new Error(`only ${seen}`)), 30000).unref();
});
await informer.start();
const namespace = "default";
await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: "js" }, data: { a: "1" } } });
const found = await core.readNamespacedConfigMap({ namespace, name: "js" });
found.data.a = "2";
await core.replaceNamespacedConfigMap({ namespace, name: "js", body: found });
await core.deleteNamespacedConfigMap({ namespace, name: "js" });
await done;
await informer.stop();
console.log(`informer: ${seen.join(", ")}`);

const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "untyped", namespace } };
await objects.create({ ...object, data: { a: "1" } });
const patched = await objects.patch({ ...object, data: { b: "2" } });
if (patched.data.a !== "1" || patched.data.b !== "2") throw new Error(JSON.stringify(patched.data));
const all = await objects.list("v1", "ConfigMap", namespace);
if (!all.items.some((item) => item.metadata.name === "untyped")) throw new Error("not listed");
await objects.delete(object);
console.log("object api: created, patched, listed, deleted");
process.exit(0);

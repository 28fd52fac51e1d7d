//! The cells of built-in kinds, by the name of the column: a path for most, a rule for the rest.
//!
//! Column names mean the same wherever they stand (`Name`, `Age`, `Images`), so a rule is looked up by column,
//! and by resource only where kinds differ.

use quadrille_object::Timestamp;
use serde_json::{Map, Value, json};

use super::kinds::{few, three};
use super::{age, kinds, pod};

pub(super) const NONE: &str = "<none>";
pub(super) const UNKNOWN: &str = "<unknown>";

/// One cell; a column without a rule is `<none>`.
pub(super) fn cell(resource: &str, column: &str, object: &Value, now: Timestamp) -> Value {
    let of_kind = match resource {
        "pods" => pod_cell(column, object),
        "services" => service_cell(column, object),
        "events" => event_cell(column, object, now),
        "jobs" => job_cell(column, object, now),
        "cronjobs" => cronjob_cell(column, object, now),
        "deployments"
        | "replicasets"
        | "statefulsets"
        | "daemonsets"
        | "replicationcontrollers" => workload_cell(resource, column, object),
        "horizontalpodautoscalers" => autoscaler_cell(column, object),
        "ingresses" => ingress_cell(column, object),
        _ => kinds::cell(resource, column, object),
    };
    of_kind
        .or_else(|| by_path(resource, column, object))
        .or_else(|| common(column, object, now))
        .unwrap_or_else(|| json!(NONE))
}

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer).and_then(Timestamp::parse_rfc3339)
}

pub(super) fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}

/// What a column means in every kind.
fn common(column: &str, object: &Value, now: Timestamp) -> Option<Value> {
    let template =
        || object.pointer("/spec/template/spec").or_else(|| object.pointer("/template/spec"));
    let of_containers = |field: &str| {
        let containers = template().map(|spec| list(spec, "/containers")).unwrap_or_default();
        joined(containers.iter().filter_map(|c| c.get(field)?.as_str()).map(str::to_owned))
    };
    Some(match column {
        "Name" => json!(text(object, "/metadata/name").unwrap_or_default()),
        "Age" => json!(
            time(object, "/metadata/creationTimestamp")
                .map_or_else(|| UNKNOWN.to_owned(), |at| age(at, now))
        ),
        "Created At" => json!(text(object, "/metadata/creationTimestamp").unwrap_or(UNKNOWN)),
        "Containers" => json!(of_containers("name")),
        "Images" => json!(of_containers("image")),
        "Selector" => json!(selector(object.pointer("/spec/selector"))),
        "Data" => json!(entries(object.get("data")) + entries(object.get("binaryData"))),
        _ => return None,
    })
}

fn entries(map: Option<&Value>) -> usize {
    map.and_then(Value::as_object).map_or(0, Map::len)
}

/// A label selector in text form: `a=b,c in (d,e)`; `<none>` when there is none.
fn selector(value: Option<&Value>) -> String {
    let Some(value) = value.filter(|value| !value.is_null()) else { return NONE.to_owned() };
    let is_label_selector =
        value.get("matchLabels").is_some() || value.get("matchExpressions").is_some();
    let labels = if is_label_selector { value.get("matchLabels") } else { Some(value) };
    let equal = labels.and_then(Value::as_object).into_iter().flatten();
    let mut parts: Vec<String> =
        equal.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    for expression in list(value, "/matchExpressions") {
        let key = text(expression, "/key").unwrap_or_default();
        let values =
            joined(list(expression, "/values").iter().filter_map(|v| Some(v.as_str()?.to_owned())));
        parts.push(match text(expression, "/operator") {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    if parts.is_empty() { NONE.to_owned() } else { parts.join(",") }
}

/// Columns that show one field as it is: resource, column, path, what stands for an absent one.
const PATHS: &[(&str, &str, &str, Absent)] = &[
    ("namespaces", "Status", "/status/phase", Absent::Empty),
    ("secrets", "Type", "/type", Absent::Empty),
    ("leases", "Holder", "/spec/holderIdentity", Absent::Empty),
    ("storageclasses", "Provisioner", "/provisioner", Absent::Empty),
    ("storageclasses", "ReclaimPolicy", "/reclaimPolicy", Absent::Text("Delete")),
    ("storageclasses", "VolumeBindingMode", "/volumeBindingMode", Absent::Text("Immediate")),
    ("storageclasses", "AllowVolumeExpansion", "/allowVolumeExpansion", Absent::False),
    ("priorityclasses", "Value", "/value", Absent::Zero),
    ("priorityclasses", "Global-Default", "/globalDefault", Absent::False),
    ("priorityclasses", "PreemptionPolicy", "/preemptionPolicy", Absent::Empty),
    ("persistentvolumeclaims", "Status", "/status/phase", Absent::Empty),
    ("persistentvolumeclaims", "Volume", "/spec/volumeName", Absent::Empty),
    ("persistentvolumeclaims", "Capacity", "/status/capacity/storage", Absent::Empty),
    ("persistentvolumeclaims", "StorageClass", "/spec/storageClassName", Absent::Empty),
    (
        "persistentvolumeclaims",
        "VolumeAttributesClass",
        "/spec/volumeAttributesClassName",
        Absent::Text("<unset>"),
    ),
    ("persistentvolumeclaims", "VolumeMode", "/spec/volumeMode", Absent::Text("<unset>")),
    ("persistentvolumes", "Capacity", "/spec/capacity/storage", Absent::Empty),
    ("persistentvolumes", "Reclaim Policy", "/spec/persistentVolumeReclaimPolicy", Absent::Empty),
    ("persistentvolumes", "Status", "/status/phase", Absent::Empty),
    ("persistentvolumes", "StorageClass", "/spec/storageClassName", Absent::Empty),
    (
        "persistentvolumes",
        "VolumeAttributesClass",
        "/spec/volumeAttributesClassName",
        Absent::Text("<unset>"),
    ),
    ("persistentvolumes", "Reason", "/status/reason", Absent::Empty),
    ("persistentvolumes", "VolumeMode", "/spec/volumeMode", Absent::Text("<unset>")),
    ("ingressclasses", "Controller", "/spec/controller", Absent::Empty),
    ("runtimeclasses", "Handler", "/handler", Absent::Empty),
    ("poddisruptionbudgets", "Min Available", "/spec/minAvailable", Absent::Text("N/A")),
    ("poddisruptionbudgets", "Max Unavailable", "/spec/maxUnavailable", Absent::Text("N/A")),
    ("poddisruptionbudgets", "Allowed Disruptions", "/status/disruptionsAllowed", Absent::Zero),
    ("controllerrevisions", "Revision", "/revision", Absent::Zero),
    ("endpointslices", "AddressType", "/addressType", Absent::Empty),
    ("validatingadmissionpolicybindings", "PolicyName", "/spec/policyName", Absent::Empty),
    ("mutatingadmissionpolicybindings", "PolicyName", "/spec/policyName", Absent::Empty),
];

/// What stands for a field that is absent.
#[derive(Clone, Copy)]
enum Absent {
    Empty,
    Zero,
    False,
    Text(&'static str),
}

/// Columns that count the items of a list: resource, column, path.
const COUNTS: &[(&str, &str, &str)] = &[
    ("validatingwebhookconfigurations", "Webhooks", "/webhooks"),
    ("mutatingwebhookconfigurations", "Webhooks", "/webhooks"),
    ("validatingadmissionpolicies", "Validations", "/spec/validations"),
    ("mutatingadmissionpolicies", "Mutations", "/spec/mutations"),
    ("csinodes", "Drivers", "/spec/drivers"),
];

fn by_path(resource: &str, column: &str, object: &Value) -> Option<Value> {
    if let Some((.., path)) = COUNTS.iter().find(|(r, c, _)| *r == resource && *c == column) {
        return Some(json!(list(object, path).len()));
    }
    if let Some((.., path, absent)) = PATHS.iter().find(|(r, c, ..)| *r == resource && *c == column)
    {
        let found = object.pointer(path).filter(|value| !value.is_null());
        return Some(match (found, absent) {
            (Some(Value::Number(n)), Absent::Text(_)) => json!(n.to_string()),
            (Some(value), _) => value.clone(),
            (None, Absent::Empty) => json!(""),
            (None, Absent::Zero) => json!(0),
            (None, Absent::False) => json!(false),
            (None, Absent::Text(text)) => json!(text),
        });
    }
    other(resource, column, object)
}

/// Short rules that need more than a path.
fn other(resource: &str, column: &str, object: &Value) -> Option<Value> {
    let subjects = |kind: &str, with_namespace: bool| {
        let of_kind = list(object, "/subjects").iter().filter(|s| text(s, "/kind") == Some(kind));
        let name = |subject: &Value| {
            let name = text(subject, "/name").unwrap_or_default();
            let namespace = text(subject, "/namespace").unwrap_or_default();
            if with_namespace { format!("{namespace}/{name}") } else { name.to_owned() }
        };
        of_kind.map(name).collect::<Vec<_>>().join(", ")
    };
    Some(match (resource, column) {
        ("rolebindings" | "clusterrolebindings", "Role") => {
            let part = |field: &str| text(object, &format!("/roleRef/{field}")).unwrap_or_default();
            json!(format!("{}/{}", part("kind"), part("name")))
        }
        ("rolebindings" | "clusterrolebindings", "Users") => json!(subjects("User", false)),
        ("rolebindings" | "clusterrolebindings", "Groups") => json!(subjects("Group", false)),
        ("rolebindings" | "clusterrolebindings", "ServiceAccounts") => {
            json!(subjects("ServiceAccount", true))
        }
        ("networkpolicies", "Pod-Selector") => json!(selector(object.pointer("/spec/podSelector"))),
        ("endpointslices", "Ports") => {
            let ports = list(object, "/ports").iter();
            let number = |p: &Value| p.get("port").and_then(Value::as_i64);
            let ports = ports.map(|p| number(p).map_or_else(|| "*".to_owned(), |n| n.to_string()));
            json!(or_unset(three(ports)))
        }
        ("endpointslices", "Endpoints") => {
            let addresses = list(object, "/endpoints").iter().flat_map(|e| list(e, "/addresses"));
            json!(or_unset(three(addresses.filter_map(|a| Some(a.as_str()?.to_owned())))))
        }
        (_, "ParamKind") => {
            let part = |field: &str| text(object, &format!("/spec/paramKind/{field}"));
            json!(match (part("apiVersion"), part("kind")) {
                (Some(version), Some(kind)) => format!("{version}/{kind}"),
                _ => "<unset>".to_owned(),
            })
        }
        (_, "ParamRef") => json!(param_ref(object)),
        ("podtemplates", "Pod Labels") => {
            json!(selector(object.pointer("/template/metadata/labels")))
        }
        _ => return None,
    })
}

/// The parameters of a policy's binding: by name, or by what selects them.
fn param_ref(object: &Value) -> String {
    let part = |field: &str| {
        let text = text(object, &format!("/spec/paramRef/{field}"));
        text.filter(|text| !text.is_empty())
    };
    match (part("namespace"), part("name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.to_owned(),
        (_, None) => match object.pointer("/spec/paramRef/selector") {
            Some(of) => selector(Some(of)),
            None => "<unset>".to_owned(),
        },
    }
}

fn or_unset(text: String) -> String {
    if text.is_empty() { "<unset>".to_owned() } else { text }
}

fn pod_cell(column: &str, object: &Value) -> Option<Value> {
    let row = || pod::row(object);
    let field =
        |pointer: &str| text(object, pointer).filter(|t| !t.is_empty()).unwrap_or(NONE).to_owned();
    Some(json!(match column {
        "Ready" => row().ready,
        "Status" => row().status,
        "Restarts" => row().restarts,
        "IP" => field("/status/podIP"),
        "Node" => field("/spec/nodeName"),
        "Nominated Node" => field("/status/nominatedNodeName"),
        "Readiness Gates" => readiness_gates(object),
        _ => return None,
    }))
}

fn readiness_gates(object: &Value) -> String {
    let gates = list(object, "/spec/readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let holds = |gate: &&Value| {
        list(object, "/status/conditions").iter().any(|condition| {
            condition.get("type") == gate.get("conditionType")
                && text(condition, "/status") == Some("True")
        })
    };
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len())
}

fn service_cell(column: &str, object: &Value) -> Option<Value> {
    Some(json!(match column {
        "Type" => text(object, "/spec/type").unwrap_or("ClusterIP").to_owned(),
        "Cluster-IP" =>
            text(object, "/spec/clusterIP").filter(|t| !t.is_empty()).unwrap_or(NONE).to_owned(),
        "External-IP" => external_ip(object),
        "Port(s)" => ports(object),
        _ => return None,
    }))
}

fn external_ip(object: &Value) -> String {
    let given =
        || list(object, "/spec/externalIPs").iter().filter_map(|ip| Some(ip.as_str()?.to_owned()));
    let balanced = list(object, "/status/loadBalancer/ingress").iter().filter_map(|entry| {
        text(entry, "/ip").or_else(|| text(entry, "/hostname")).map(str::to_owned)
    });
    let found = match text(object, "/spec/type") {
        Some("LoadBalancer") => {
            let all = joined(balanced.chain(given()));
            return if all.is_empty() { "<pending>".to_owned() } else { all };
        }
        Some("ExternalName") => text(object, "/spec/externalName").unwrap_or_default().to_owned(),
        _ => joined(given()),
    };
    if found.is_empty() { NONE.to_owned() } else { found }
}

fn ports(object: &Value) -> String {
    let port = |port: &Value| {
        let protocol = text(port, "/protocol").unwrap_or("TCP");
        match number(port, "/nodePort") {
            0 => format!("{}/{protocol}", number(port, "/port")),
            node => format!("{}:{node}/{protocol}", number(port, "/port")),
        }
    };
    let all = joined(list(object, "/spec/ports").iter().map(port));
    if all.is_empty() { NONE.to_owned() } else { all }
}

fn event_cell(column: &str, object: &Value, now: Timestamp) -> Option<Value> {
    let field = |pointers: &[&str]| {
        pointers
            .iter()
            .find_map(|p| text(object, p).filter(|t| !t.is_empty()))
            .unwrap_or_default()
            .to_owned()
    };
    let since = |pointers: &[&str]| {
        let at = pointers.iter().find_map(|pointer| time(object, pointer));
        at.map_or_else(|| UNKNOWN.to_owned(), |at| age(at, now))
    };
    let involved = |field: &str| {
        let either = ["/involvedObject/", "/regarding/"].map(|root| format!("{root}{field}"));
        either.iter().find_map(|pointer| text(object, pointer)).unwrap_or_default().to_owned()
    };
    Some(match column {
        "Last Seen" => {
            json!(since(&[
                "/series/lastObservedTime",
                "/lastTimestamp",
                "/deprecatedLastTimestamp",
                "/eventTime"
            ]))
        }
        "First Seen" => {
            json!(since(&["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"]))
        }
        "Type" => json!(field(&["/type"])),
        "Reason" => json!(field(&["/reason"])),
        "Message" => json!(field(&["/message", "/note"]).trim()),
        "Object" => {
            let kind = involved("kind").to_lowercase();
            let name = involved("name");
            json!(if name.is_empty() { kind } else { format!("{kind}/{name}") })
        }
        "Subobject" => json!(involved("fieldPath")),
        "Source" => {
            let component = field(&[
                "/source/component",
                "/deprecatedSource/component",
                "/reportingComponent",
                "/reportingController",
            ]);
            let host = field(&["/source/host", "/deprecatedSource/host"]);
            json!(if host.is_empty() { component } else { format!("{component}, {host}") })
        }
        "Count" => {
            let counts = ["/series/count", "/count", "/deprecatedCount"];
            let count = counts.iter().map(|c| number(object, c)).find(|n| *n > 0).unwrap_or(1);
            json!(count.to_string())
        }
        _ => return None,
    })
}

/// The status of a condition, if it has the type.
pub(super) fn condition<'a>(object: &'a Value, wanted: &str) -> Option<&'a str> {
    let of_type =
        list(object, "/status/conditions").iter().find(|c| text(c, "/type") == Some(wanted))?;
    text(of_type, "/status")
}

fn job_cell(column: &str, object: &Value, now: Timestamp) -> Option<Value> {
    let holds = |wanted: &str| condition(object, wanted) == Some("True");
    Some(json!(match column {
        "Status" => {
            let terminating = text(object, "/metadata/deletionTimestamp").is_some();
            let words = [
                (holds("Complete"), "Complete"),
                (holds("Failed"), "Failed"),
                (terminating, "Terminating"),
                (holds("Suspended"), "Suspended"),
                (holds("FailureTarget"), "FailureTarget"),
                (holds("SuccessCriteriaMet"), "SuccessCriteriaMet"),
            ];
            words.iter().find(|(holds, _)| *holds).map_or("Running", |(_, word)| word).to_owned()
        }
        "Completions" => {
            let done = number(object, "/status/succeeded");
            match object.pointer("/spec/completions").and_then(Value::as_i64) {
                Some(wanted) => format!("{done}/{wanted}"),
                None => match number(object, "/spec/parallelism") {
                    many @ 2.. => format!("{done}/1 of {many}"),
                    _ => format!("{done}/1"),
                },
            }
        }
        "Duration" =>
            match (time(object, "/status/startTime"), time(object, "/status/completionTime")) {
                (Some(start), Some(end)) => age(start, end),
                (Some(start), None) => age(start, now),
                (None, _) => String::new(),
            },
        _ => return None,
    }))
}

fn cronjob_cell(column: &str, object: &Value, now: Timestamp) -> Option<Value> {
    Some(match column {
        "Schedule" => json!(text(object, "/spec/schedule").unwrap_or_default()),
        "Timezone" => json!(text(object, "/spec/timeZone").unwrap_or(NONE)),
        "Suspend" => {
            let suspended = object.pointer("/spec/suspend").and_then(Value::as_bool);
            json!(if suspended == Some(true) { "True" } else { "False" })
        }
        "Active" => json!(list(object, "/status/active").len()),
        "Last Schedule" => {
            json!(
                time(object, "/status/lastScheduleTime")
                    .map_or_else(|| NONE.to_owned(), |at| age(at, now))
            )
        }
        "Containers" | "Images" => {
            let spec = json!({"spec": object.pointer("/spec/jobTemplate/spec")});
            return common(column, &spec, now);
        }
        "Selector" => json!(selector(object.pointer("/spec/jobTemplate/spec/selector"))),
        _ => return None,
    })
}

fn workload_cell(resource: &str, column: &str, object: &Value) -> Option<Value> {
    let status = |field: &str| number(object, &format!("/status/{field}"));
    let wanted = number(object, "/spec/replicas");
    Some(match (resource, column) {
        ("deployments" | "statefulsets", "Ready") => {
            json!(format!("{}/{wanted}", status("readyReplicas")))
        }
        ("deployments", "Up-to-date") => json!(status("updatedReplicas")),
        ("deployments", "Available") => json!(status("availableReplicas")),
        ("daemonsets", "Desired") => json!(status("desiredNumberScheduled")),
        ("daemonsets", "Current") => json!(status("currentNumberScheduled")),
        ("daemonsets", "Ready") => json!(status("numberReady")),
        ("daemonsets", "Up-to-date") => json!(status("updatedNumberScheduled")),
        ("daemonsets", "Available") => json!(status("numberAvailable")),
        ("daemonsets", "Node Selector") => {
            json!(selector(object.pointer("/spec/template/spec/nodeSelector")))
        }
        (_, "Desired") => json!(wanted),
        (_, "Current") => json!(status("replicas")),
        (_, "Ready") => json!(status("readyReplicas")),
        _ => return None,
    })
}

fn autoscaler_cell(column: &str, object: &Value) -> Option<Value> {
    Some(match column {
        "Reference" => {
            let part = |field: &str| {
                text(object, &format!("/spec/scaleTargetRef/{field}")).unwrap_or_default()
            };
            json!(format!("{}/{}", part("kind"), part("name")))
        }
        "Targets" => json!(autoscaler_targets(object)),
        "MinPods" => {
            let min = object.pointer("/spec/minReplicas").and_then(Value::as_i64);
            json!(min.map_or_else(|| "<unset>".to_owned(), |min| min.to_string()))
        }
        "MaxPods" => json!(number(object, "/spec/maxReplicas")),
        "Replicas" => json!(number(object, "/status/currentReplicas")),
        _ => return None,
    })
}

/// What is and what shall be, of the first two metrics.
fn autoscaler_targets(object: &Value) -> String {
    const SHOWN_MAX: usize = 2;
    let current = list(object, "/status/currentMetrics");
    let metrics = list(object, "/spec/metrics").iter().enumerate();
    let all = metrics.filter_map(|(at, metric)| autoscaler_target(metric, current.get(at)));
    let shown = few(all, SHOWN_MAX, ", ");
    if shown.is_empty() { NONE.to_owned() } else { shown }
}

fn autoscaler_target(metric: &Value, current: Option<&Value>) -> Option<String> {
    let source = match text(metric, "/type")? {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return None,
    };
    let target = |field: &str| metric.pointer(&format!("/{source}/target/{field}"));
    let is = |field: &str| {
        let found = current.and_then(|c| c.pointer(&format!("/{source}/current/{field}")));
        match found.filter(|value| !value.is_null()) {
            Some(Value::Number(percent)) => format!("{percent}%"),
            Some(value) => value.as_str().unwrap_or_default().to_owned(),
            None => UNKNOWN.to_owned(),
        }
    };
    let amount = |field: &str| target(field).and_then(Value::as_str);
    let of_load = matches!(source, "resource" | "containerResource");
    if of_load {
        let name = text(metric, &format!("/{source}/name")).unwrap_or_default();
        if let Some(wanted) = amount("averageValue") {
            return Some(format!("{name}: {}/{wanted}", is("averageValue")));
        }
        let wanted = target("averageUtilization").and_then(Value::as_i64);
        let wanted = wanted.map_or_else(|| "<auto>".to_owned(), |w| format!("{w}%"));
        return Some(format!("{name}: {}/{wanted}", is("averageUtilization")));
    }
    Some(match (amount("averageValue"), source) {
        (Some(wanted), "pods") => format!("{}/{wanted}", is("averageValue")),
        (Some(wanted), _) => format!("{}/{wanted} (avg)", is("averageValue")),
        (None, _) => format!("{}/{}", is("value"), amount("value").unwrap_or_default()),
    })
}

fn ingress_cell(column: &str, object: &Value) -> Option<Value> {
    Some(json!(match column {
        "Class" => text(object, "/spec/ingressClassName").unwrap_or(NONE).to_owned(),
        "Hosts" => {
            let rules = list(object, "/spec/rules").iter();
            let hosts = three(rules.filter_map(|r| Some(text(r, "/host")?.to_owned())));
            if hosts.is_empty() { "*".to_owned() } else { hosts }
        }
        "Address" => {
            let entries = list(object, "/status/loadBalancer/ingress").iter();
            joined(
                entries.filter_map(|e| {
                    text(e, "/ip").or_else(|| text(e, "/hostname")).map(str::to_owned)
                }),
            )
        }
        "Ports" => {
            let secure = !list(object, "/spec/tls").is_empty();
            if secure { "80, 443".to_owned() } else { "80".to_owned() }
        }
        _ => return None,
    }))
}

//! The cells of kinds whose columns are more than a path: nodes, endpoints, certificates, flow control, storage, networks.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::builtin::{NONE, UNKNOWN, condition, joined, list, number, text};
use super::duration::human_duration;

/// How many endpoints, ports or hosts are written out.
const SHOWN_MAX: usize = 3;

/// One cell; `None` where the general rules have it.
pub(super) fn cell(resource: &str, column: &str, object: &Value) -> Option<Value> {
    let at = |path: &str| text(object, path).unwrap_or_default().to_owned();
    let or_none = |text: String| if text.is_empty() { NONE.to_owned() } else { text };
    Some(match (resource, column) {
        ("nodes", _) => json!(node(column, object)?),
        ("endpoints", "Endpoints") => json!(or_none(endpoints(object))),
        ("resourcequotas", "Request" | "Limit") => json!(quota(object, column == "Limit")),
        ("persistentvolumes" | "persistentvolumeclaims", _) => {
            json!(volume(resource, column, object)?)
        }
        ("certificatesigningrequests", _) => json!(signing_request(column, object)?),
        ("flowschemas" | "prioritylevelconfigurations", _) => flow(column, object)?,
        ("apiservices", _) => json!(api_service(column, object)?),
        ("csidrivers" | "volumeattachments" | "volumeattributesclasses", _) => {
            storage(column, object)?
        }
        ("storageclasses", "Name") => {
            let annotations = object.pointer("/metadata/annotations");
            let default =
                annotations.and_then(|a| a.get("storageclass.kubernetes.io/is-default-class"));
            let mark = if default == Some(&json!("true")) { " (default)" } else { "" };
            json!(format!("{}{mark}", at("/metadata/name")))
        }
        ("controllerrevisions", "Controller") => json!(controller(object)),
        ("ingressclasses", "Parameters") => json!(parameters(object)),
        ("servicecidrs", "CIDRs") => {
            let cidrs = list(object, "/spec/cidrs").iter().filter_map(Value::as_str);
            json!(joined(cidrs.map(str::to_owned)))
        }
        ("ipaddresses", "ParentRef") => json!(parent(object)),
        ("resourceclaims", "State") => json!(claim(object)),
        ("resourceslices", "Node") => json!(at("/spec/nodeName")),
        ("resourceslices", "Driver") => json!(at("/spec/driver")),
        ("resourceslices", "Pool") => json!(at("/spec/pool/name")),
        _ => return None,
    })
}

/// The first few of many, and how many more there are.
pub(super) fn few(all: impl Iterator<Item = String>, most: usize, between: &str) -> String {
    let (mut shown, mut count) = (Vec::new(), 0_usize);
    for item in all {
        count += 1;
        if shown.len() < most {
            shown.push(item);
        }
    }
    let text = shown.join(between);
    if count > most { format!("{text} + {} more...", count - most) } else { text }
}

/// The same with the usual number and separator.
pub(super) fn three(all: impl Iterator<Item = String>) -> String {
    few(all, SHOWN_MAX, ",")
}

fn node(column: &str, object: &Value) -> Option<String> {
    let address = |kind: &str| {
        let all = list(object, "/status/addresses").iter();
        let mut of_kind = all.filter(|a| text(a, "/type") == Some(kind));
        of_kind.next().and_then(|a| text(a, "/address")).unwrap_or(NONE).to_owned()
    };
    let info = |field: &str| {
        let found = text(object, &format!("/status/nodeInfo/{field}")).unwrap_or_default();
        if found.is_empty() { UNKNOWN.to_owned() } else { found.to_owned() }
    };
    Some(match column {
        "Status" => {
            let ready = match condition(object, "Ready") {
                Some("True") => "Ready",
                Some(_) => "NotReady",
                None => "Unknown",
            };
            let off = object.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
            format!("{ready}{}", if off { ",SchedulingDisabled" } else { "" })
        }
        "Roles" => {
            let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
            let role = |(key, value): (&String, &Value)| {
                if let Some(role) = key.strip_prefix("node-role.kubernetes.io/") {
                    return Some(role.to_owned()).filter(|role| !role.is_empty());
                }
                let named = value.as_str().filter(|value| !value.is_empty());
                (key == "kubernetes.io/role").then(|| named.map(str::to_owned)).flatten()
            };
            let roles: BTreeSet<String> = labels.into_iter().flatten().filter_map(role).collect();
            if roles.is_empty() { NONE.to_owned() } else { joined(roles.into_iter()) }
        }
        "Version" => text(object, "/status/nodeInfo/kubeletVersion").unwrap_or_default().to_owned(),
        "Internal-IP" => address("InternalIP"),
        "External-IP" => address("ExternalIP"),
        "OS-Image" => info("osImage"),
        "Kernel-Version" => info("kernelVersion"),
        "Container-Runtime" => info("containerRuntimeVersion"),
        _ => return None,
    })
}

fn endpoints(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in list(object, "/subsets") {
        let addresses = || list(subset, "/addresses").iter().filter_map(|a| text(a, "/ip"));
        let ports = list(subset, "/ports");
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports.iter().map(|port| number(port, "/port")) {
            let joined = addresses().map(|ip| {
                if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
            });
            all.extend(joined);
        }
    }
    three(all.into_iter())
}

fn quota(object: &Value, of_limits: bool) -> String {
    let hard = object.pointer("/status/hard").and_then(Value::as_object);
    let used = object.pointer("/status/used");
    let amount = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("0").to_owned();
    let of_column =
        hard.into_iter().flatten().filter(|(k, _)| k.starts_with("limits.") == of_limits);
    let cells = of_column.map(|(name, hard)| {
        let used = amount(used.and_then(|used| used.get(name)));
        format!("{name}: {used}/{}", amount(Some(hard)))
    });
    cells.collect::<Vec<_>>().join(", ")
}

fn volume(resource: &str, column: &str, object: &Value) -> Option<String> {
    let is_claim = resource == "persistentvolumeclaims";
    Some(match column {
        "Status" if text(object, "/metadata/deletionTimestamp").is_some() => {
            "Terminating".to_owned()
        }
        "Access Modes" => {
            let bound = text(object, "/spec/volumeName").is_some_and(|name| !name.is_empty());
            let place = if is_claim { "/status/accessModes" } else { "/spec/accessModes" };
            let modes: Vec<&str> = list(object, place).iter().filter_map(Value::as_str).collect();
            let short = [
                ("ReadWriteOnce", "RWO"),
                ("ReadOnlyMany", "ROX"),
                ("ReadWriteMany", "RWX"),
                ("ReadWriteOncePod", "RWOP"),
            ];
            let known = short.iter().filter(|(mode, _)| modes.contains(mode));
            if is_claim && !bound {
                String::new()
            } else {
                joined(known.map(|(_, short)| (*short).to_owned()))
            }
        }
        "Capacity" if is_claim && text(object, "/spec/volumeName").is_none_or(str::is_empty) => {
            String::new()
        }
        "Claim" => match object.pointer("/spec/claimRef").filter(|claim| !claim.is_null()) {
            None => String::new(),
            Some(claim) => {
                let of = |field: &str| text(claim, field).unwrap_or_default();
                format!("{}/{}", of("/namespace"), of("/name"))
            }
        },
        _ => return None,
    })
}

fn signing_request(column: &str, object: &Value) -> Option<String> {
    Some(match column {
        "SignerName" => text(object, "/spec/signerName").unwrap_or(NONE).to_owned(),
        "Requestor" => text(object, "/spec/username").unwrap_or_default().to_owned(),
        "RequestedDuration" => {
            let seconds = object.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
            seconds.map_or_else(|| NONE.to_owned(), human_duration)
        }
        "Condition" => {
            let has = |kind: &str| condition(object, kind).is_some();
            let mut word = match (has("Denied"), has("Approved")) {
                (true, _) => "Denied",
                (false, true) => "Approved",
                (false, false) => "Pending",
            }
            .to_owned();
            if has("Failed") {
                word.push_str(",Failed");
            }
            if text(object, "/status/certificate").is_some_and(|c| !c.is_empty()) {
                word.push_str(",Issued");
            }
            word
        }
        _ => return None,
    })
}

fn flow(column: &str, object: &Value) -> Option<Value> {
    let limited = object.pointer("/spec/limited").filter(|limited| !limited.is_null());
    let of_queues = |field: &str| {
        let queuing = limited.and_then(|l| l.pointer("/limitResponse/queuing"));
        let found = queuing.and_then(|q| q.get(field)).filter(|value| !value.is_null());
        found.cloned().unwrap_or_else(|| json!(NONE))
    };
    Some(match column {
        "PriorityLevel" => {
            json!(text(object, "/spec/priorityLevelConfiguration/name").unwrap_or_default())
        }
        "MatchingPrecedence" => json!(number(object, "/spec/matchingPrecedence").to_string()),
        "DistinguisherMethod" => {
            json!(text(object, "/spec/distinguisherMethod/type").unwrap_or(NONE))
        }
        "MissingPL" => json!(condition(object, "Dangling").unwrap_or("?")),
        "Type" => json!(text(object, "/spec/type").unwrap_or_default()),
        "NominalConcurrencyShares" => {
            let shares = limited.and_then(|l| l.get("nominalConcurrencyShares")).cloned();
            shares.unwrap_or_else(|| json!(NONE))
        }
        "Queues" => of_queues("queues"),
        "HandSize" => of_queues("handSize"),
        "QueueLengthLimit" => of_queues("queueLengthLimit"),
        _ => return None,
    })
}

fn api_service(column: &str, object: &Value) -> Option<String> {
    Some(match column {
        "Service" => match object.pointer("/spec/service").filter(|service| !service.is_null()) {
            None => "Local".to_owned(),
            Some(service) => {
                let of = |field: &str| text(service, field).unwrap_or_default();
                format!("{}/{}", of("/namespace"), of("/name"))
            }
        },
        "Available" => {
            let all = list(object, "/status/conditions").iter();
            let found = all.into_iter().find(|c| text(c, "/type") == Some("Available"));
            let of =
                |field: &str| found.and_then(|c| text(c, field)).unwrap_or_default().to_owned();
            match of("/status").as_str() {
                "" => "Unknown".to_owned(),
                "True" => "True".to_owned(),
                other => format!("{other} ({})", of("/reason")),
            }
        }
        _ => return None,
    })
}

fn storage(column: &str, object: &Value) -> Option<Value> {
    let spec = |field: &str| {
        object.pointer(&format!("/spec/{field}")).filter(|value| !value.is_null()).cloned()
    };
    Some(match column {
        "AttachRequired" => spec("attachRequired").unwrap_or(Value::Bool(true)),
        "PodInfoOnMount" => spec("podInfoOnMount").unwrap_or(Value::Bool(false)),
        "StorageCapacity" => spec("storageCapacity").unwrap_or(Value::Bool(false)),
        "RequiresRepublish" => spec("requiresRepublish").unwrap_or(Value::Bool(false)),
        "TokenRequests" => {
            let audiences = list(object, "/spec/tokenRequests").iter();
            let all = joined(audiences.filter_map(|r| Some(text(r, "/audience")?.to_owned())));
            json!(if all.is_empty() { "<unset>" } else { all.as_str() })
        }
        "Modes" => {
            let modes = list(object, "/spec/volumeLifecycleModes").iter().filter_map(Value::as_str);
            let all = joined(modes.map(str::to_owned));
            json!(if all.is_empty() { NONE } else { all.as_str() })
        }
        "Attacher" => spec("attacher").unwrap_or_default(),
        "PV" => json!(text(object, "/spec/source/persistentVolumeName").unwrap_or_default()),
        "Node" => spec("nodeName").unwrap_or_default(),
        "Attached" => json!(object.pointer("/status/attached") == Some(&Value::Bool(true))),
        "DriverName" => json!(text(object, "/driverName").unwrap_or_default()),
        _ => return None,
    })
}

/// The controlling owner, such as `deployment.apps/web`.
fn controller(object: &Value) -> String {
    let owners = list(object, "/metadata/ownerReferences").iter();
    let owner = owners.into_iter().find(|o| o.get("controller") == Some(&Value::Bool(true)));
    let Some(owner) = owner else { return NONE.to_owned() };
    let of = |field: &str| text(owner, field).unwrap_or_default();
    let kind = of("/kind").to_lowercase();
    match of("/apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", of("/name")),
        None => format!("{kind}/{}", of("/name")),
    }
}

fn parameters(object: &Value) -> String {
    let found = object.pointer("/spec/parameters").filter(|parameters| !parameters.is_null());
    let Some(found) = found else { return NONE.to_owned() };
    let of = |field: &str| text(found, field).unwrap_or_default();
    match text(found, "/apiGroup") {
        Some(group) => format!("{}.{group}/{}", of("/kind"), of("/name")),
        None => format!("{}/{}", of("/kind"), of("/name")),
    }
}

fn parent(object: &Value) -> String {
    let Some(parent) = object.pointer("/spec/parentRef").filter(|p| !p.is_null()) else {
        return NONE.to_owned();
    };
    let of = |field: &str| text(parent, field).filter(|part| !part.is_empty());
    let resource = of("/resource").unwrap_or_default();
    let head = match of("/group") {
        Some(group) => format!("{resource}.{group}"),
        None => resource.to_owned(),
    };
    let parts = [Some(head.as_str()), of("/namespace"), of("/name")];
    parts.into_iter().flatten().collect::<Vec<_>>().join("/")
}

fn claim(object: &Value) -> String {
    let mut words = Vec::new();
    if text(object, "/metadata/deletionTimestamp").is_some() {
        words.push("deleted");
    }
    match object.pointer("/status/allocation").filter(|allocation| !allocation.is_null()) {
        None if text(object, "/metadata/deletionTimestamp").is_none() => words.push("pending"),
        None => {}
        Some(_) => {
            words.push("allocated");
            if !list(object, "/status/reservedFor").is_empty() {
                words.push("reserved");
            }
        }
    }
    words.join(",")
}

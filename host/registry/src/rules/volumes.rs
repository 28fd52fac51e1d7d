//! Persistent volumes and the claims on them.

use quadrille_object::quantity::Quantity;
use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::rules::facts::Fact::{Default, Immutable, OneOf, Selector};
use crate::rules::facts::Literal::Text;
use crate::rules::facts::{Form, KindRules, part, text, value};
use crate::rules::ingress::default_of;
use crate::rules::pod_template::{At, validate_node_selector};
use crate::status::Status;
use crate::write::Attempt;

const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// Who holds a volume, or a claim, until nobody uses it.
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Where a volume's bytes can be.
const SOURCES: [&str; 23] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "local",
    "storageos",
    "csi",
    "ephemeral",
];

fn protect(object: &mut Object, finalizer: &str) {
    let list =
        field::map_mut(object, &["metadata"]).entry("finalizers").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut()
        && !list.iter().any(|f| f.as_str() == Some(finalizer))
    {
        list.push(finalizer.into());
    }
}

/// The rules of persistent volumes.
pub(crate) static VOLUMES: KindRules = KindRules {
    facts: &[
        Default("spec.persistentVolumeReclaimPolicy", Text("Retain")),
        Default("spec.volumeMode", Text("Filesystem")),
        Default("spec.hostPath.type", Text("")),
        OneOf("spec.persistentVolumeReclaimPolicy", &["Delete", "Recycle", "Retain"]),
        OneOf("spec.volumeMode", &["Block", "Filesystem"]),
        Immutable("spec.volumeMode"),
    ],
    create: |attempt, object| {
        let now = attempt.now.to_rfc3339();
        let status = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
        object.insert("status".to_owned(), status);
        protect(object, VOLUME_FINALIZER);
        Ok(())
    },
    update: |attempt, object, before| {
        let phase = |o| field::text(o, &["status", "phase"]).unwrap_or_default().to_owned();
        if attempt.subresource() == Some("status") && phase(object) != phase(before) {
            let given = |o| field::get(o, &["status", "lastPhaseTransitionTime"]).cloned();
            if given(object) == given(before) {
                let now = attempt.now.to_rfc3339().into();
                let status = field::map_mut(object, &["status"]);
                status.insert("lastPhaseTransitionTime".to_owned(), now);
            }
        }
        Ok(())
    },
    validate: validate_volume,
    changed: |object, before, errors| {
        let of = |o, key| field::get(o, &["spec", key]).cloned();
        if SOURCES.iter().any(|key| of(object, key) != of(before, key)) {
            let why = "spec.persistentvolumesource is immutable after creation";
            errors.forbidden("spec.persistentvolumesource", why);
        }
        let affinity = of(before, "nodeAffinity");
        if affinity.is_some() && affinity != of(object, "nodeAffinity") {
            let shown = of(object, "nodeAffinity").unwrap_or_default();
            let why = "field is immutable, except for updating from beta label to GA";
            errors.invalid("spec.nodeAffinity", &shown, why);
        }
    },
    warn: |object, _, warnings| {
        warn_class(object, warnings);
        let reclaim = field::text(object, &["spec", "persistentVolumeReclaimPolicy"]);
        if reclaim == Some("Recycle") {
            let text = "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the \
                        recommended approach is to use dynamic provisioning.";
            warnings.push(text.to_owned());
        }
        for (key, since, gone) in [
            ("cephfs", "v1.28", "v1.31"),
            ("rbd", "v1.28", "v1.31"),
            ("glusterfs", "v1.25", "v1.26"),
            ("quobyte", "v1.22", "v1.25"),
            ("scaleIO", "v1.16", "v1.22"),
            ("storageos", "v1.22", "v1.25"),
        ] {
            if field::get(object, &["spec", key]).is_some() {
                warnings
                    .push(format!("spec.{key}: deprecated in {since}, non-functional in {gone}+"));
            }
        }
    },
    ..KindRules::PLAIN
};

fn warn_class(object: &Object, warnings: &mut Vec<String>) {
    if field::get(object, &["metadata", "annotations", CLASS]).is_some() {
        warnings.push(format!(
            "metadata.annotations[{CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
}

fn validate_volume(object: &Object, errors: &mut Errors) {
    let empty = Object::new();
    let spec = part(object, "spec").unwrap_or(&empty);
    validate_modes(spec, "", errors);
    let capacity = part(spec, "capacity").filter(|c| !c.is_empty());
    if capacity.is_none() {
        errors.required("spec.capacity", "");
    }
    if capacity.is_none_or(|c| c.len() > 1 || !c.contains_key("storage")) {
        let shown = capacity.map_or(Value::Null, |c| Value::Object(c.clone()));
        errors.unsupported("spec.capacity", &shown, &["storage"]);
    }
    for (name, amount) in capacity.into_iter().flatten() {
        validate_size(&format!("spec.capacity[{name}]"), amount, errors);
    }
    validate_sources(spec, errors);
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        errors.invalid_each("spec.storageClassName", class, Form::Subdomain.problems(class));
    }
    let affinity = part(spec, "nodeAffinity");
    if affinity.is_some_and(|a| value(a, "required").is_none()) {
        errors.required("spec.nodeAffinity.required", "must specify required node constraints");
    }
    if let Some(required) = affinity.and_then(|affinity| part(affinity, "required")) {
        let required = At::new(required, "spec.nodeAffinity.required");
        validate_node_selector(&required, true, errors);
    }
    match value(spec, "volumeAttributesClassName").and_then(Value::as_str) {
        Some("") => {
            errors.required("spec.volumeAttributesClassName", "an empty string is disallowed");
        }
        Some(_) if part(spec, "csi").is_none() => {
            errors.required("spec.csi", "has to be specified when using volumeAttributesClassName");
        }
        _ => {}
    }
}

fn validate_modes(spec: &Object, why: &str, errors: &mut Errors) {
    let modes = field::list(spec, &["accessModes"]);
    if modes.is_empty() {
        errors.required("spec.accessModes", why);
    }
    let known = |mode: &&Value| mode.as_str().is_some_and(|text| MODES.contains(&text));
    for mode in modes.iter().filter(|mode| !known(mode)) {
        errors.unsupported("spec.accessModes", mode, &MODES);
    }
    if modes.len() > 1 && modes.iter().any(|m| m.as_str() == Some("ReadWriteOncePod")) {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.forbidden("spec.accessModes", why);
    }
}

fn validate_size(at: &str, amount: &Value, errors: &mut Errors) {
    let Ok(quantity) = Quantity::from_value(amount) else { return };
    if quantity <= Quantity::from(0) {
        errors.invalid(at, amount, "must be greater than zero");
    }
}

fn validate_sources(spec: &Object, errors: &mut Errors) {
    let present: Vec<&str> =
        SOURCES.iter().copied().filter(|key| part(spec, key).is_some()).collect();
    if present.is_empty() {
        errors.required("spec", "must specify a volume type");
    }
    for extra in present.iter().skip(1) {
        errors.forbidden(format!("spec.{extra}"), "may not specify more than 1 volume type");
    }
    let Some(first) = present.first() else { return };
    let Some(source) = part(spec, first) else { return };
    let required: &[&str] = match *first {
        "hostPath" | "local" => &["path"],
        "nfs" => &["server", "path"],
        "csi" => &["driver", "volumeHandle"],
        "flexVolume" => &["driver"],
        "azureFile" => &["secretName", "shareName"],
        "cinder" | "awsElasticBlockStore" => &["volumeID"],
        "gcePersistentDisk" => &["pdName"],
        "vsphereVolume" => &["volumePath"],
        "glusterfs" => &["endpoints", "path"],
        "rbd" => &["monitors", "image"],
        "cephfs" => &["monitors"],
        "iscsi" => &["targetPortal", "iqn"],
        _ => &[],
    };
    for key in required {
        let given = source.get(*key);
        let is_empty = given.is_none_or(|v| match v {
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Null => true,
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
        });
        if is_empty {
            errors.required(format!("spec.{first}.{key}"), "");
        }
    }
    let path = text(source, "path");
    if *first == "nfs" && !path.is_empty() && !path.starts_with('/') {
        errors.invalid("spec.nfs.path", &path.into(), "must be an absolute path");
    }
    if matches!(*first, "hostPath" | "local") && path.split('/').any(|segment| segment == "..") {
        errors.invalid(format!("spec.{first}.path"), &path.into(), "must not contain '..'");
    }
    validate_particular(spec, first, source, errors);
}

fn validate_particular(spec: &Object, kind: &str, source: &Object, errors: &mut Errors) {
    match kind {
        "hostPath" => {
            let known = [
                "",
                "BlockDevice",
                "CharDevice",
                "Directory",
                "DirectoryOrCreate",
                "File",
                "FileOrCreate",
                "Socket",
            ];
            if let Some(kind) = value(source, "type")
                && !kind.as_str().is_some_and(|text| known.contains(&text))
            {
                errors.unsupported("spec.hostPath.type", kind, &known);
            }
            let recycled = text(spec, "persistentVolumeReclaimPolicy") == "Recycle";
            if recycled && text(source, "path").trim_end_matches('/').is_empty() {
                let why = "may not be 'recycle' for a hostPath mount of '/'";
                errors.forbidden("spec.persistentVolumeReclaimPolicy", why);
            }
        }
        "local" if value(spec, "nodeAffinity").is_none() => {
            errors.required("spec.nodeAffinity", "Local volume requires node affinity");
        }
        "csi" => {
            let driver = text(source, "driver");
            if !driver.is_empty() {
                let problems = Form::Subdomain.problems(&driver.to_lowercase());
                errors.invalid_each("spec.csi.driver", driver, problems);
            }
        }
        _ => {}
    }
}

/// The rules of claims on volumes.
pub(crate) static CLAIMS: KindRules = KindRules {
    facts: &[
        Default("spec.volumeMode", Text("Filesystem")),
        OneOf("spec.volumeMode", &["Block", "Filesystem"]),
        Selector("spec.selector"),
    ],
    default: |object| {
        let spec = field::map_mut(object, &["spec"]);
        field::default(spec, "volumeMode", "Filesystem");
    },
    create: |attempt, object| {
        object.insert("status".to_owned(), json!({"phase": "Pending"}));
        settle_source(object);
        use_default_class(attempt, object)?;
        protect(object, CLAIM_FINALIZER);
        Ok(())
    },
    update: |attempt, object, _| {
        if attempt.subresource().is_none() {
            agree(object);
        }
        Ok(())
    },
    validate: validate_claim,
    changed: claim_changed,
    warn: |object, _, warnings| {
        warn_class(object, warnings);
        let size = field::get(object, &["spec", "resources", "requests", "storage"]);
        let fraction =
            size.and_then(|s| Quantity::from_value(s).ok()).filter(|q| q.millis() % 1000 != 0);
        if let Some(quantity) = fraction {
            warnings.push(format!(
                "spec.resources.requests[storage]: fractional byte value \"{quantity}\" is invalid, must be an integer"
            ));
        }
    },
    ..KindRules::PLAIN
};

/// A source that no claim can have is dropped; the others stand under both of their names.
fn settle_source(object: &mut Object) {
    let spec = field::map_mut(object, &["spec"]);
    let source = part(spec, "dataSource");
    let known = source.is_some_and(|source| {
        let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
        (group.is_empty() && kind == "PersistentVolumeClaim")
            || (group == "snapshot.storage.k8s.io" && kind == "VolumeSnapshot")
    });
    if source.is_some() && !known && value(spec, "dataSourceRef").is_none() {
        spec.remove("dataSource");
    }
    agree(object);
}

/// The two names of a source say the same, unless the newer one speaks of another namespace.
fn agree(object: &mut Object) {
    let spec = field::map_mut(object, &["spec"]);
    let (old, new) = (part(spec, "dataSource").cloned(), part(spec, "dataSourceRef").cloned());
    match (old, new) {
        (Some(old), None) => drop(spec.insert("dataSourceRef".to_owned(), old.into())),
        (None, Some(new)) if text(&new, "namespace").is_empty() => {
            spec.insert("dataSource".to_owned(), new.into());
        }
        _ => {}
    }
}

/// A claim that names no class gets the default one.
fn use_default_class(attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
    let named = field::get(object, &["spec", "storageClassName"]).is_some();
    if named || field::get(object, &["metadata", "annotations", CLASS]).is_some() {
        return Ok(());
    }
    if let Some(class) = default_of(attempt, "storage.k8s.io", "storageclasses", IS_DEFAULT)? {
        field::map_mut(object, &["spec"]).insert("storageClassName".to_owned(), class.into());
    }
    Ok(())
}

fn validate_claim(object: &Object, errors: &mut Errors) {
    let empty = Object::new();
    let spec = part(object, "spec").unwrap_or(&empty);
    validate_claim_spec(spec, errors);
    let phase = field::text(object, &["status", "phase"]).unwrap_or_default();
    if !matches!(phase, "" | "Pending" | "Bound" | "Lost") {
        errors.unsupported("status.phase", &phase.into(), &["Bound", "Lost", "Pending"]);
    }
    let capacity = field::get(object, &["status", "capacity"]).and_then(Value::as_object);
    for (name, amount) in capacity.into_iter().flatten() {
        if Quantity::from_value(amount).is_ok_and(Quantity::is_negative) {
            let at = format!("status.capacity[{name}]");
            errors.invalid(at, amount, "must be greater than or equal to 0");
        }
    }
}

fn validate_claim_spec(spec: &Object, errors: &mut Errors) {
    validate_modes(spec, "at least 1 access mode is required", errors);
    match field::get(spec, &["resources", "requests", "storage"]) {
        None => errors.required("spec.resources[storage]", ""),
        Some(amount) => validate_size("spec.resources[storage]", amount, errors),
    }
    let class = value(spec, "storageClassName").and_then(Value::as_str).unwrap_or_default();
    if !class.is_empty() {
        errors.invalid_each("spec.storageClassName", class, Form::Subdomain.problems(class));
    }
    for key in ["dataSource", "dataSourceRef"] {
        let Some(source) = part(spec, key) else { continue };
        let at = format!("spec.{key}");
        for name in ["name", "kind"] {
            if text(source, name).is_empty() {
                errors.required(format!("{at}.{name}"), "");
            }
        }
        let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
        if group.is_empty() && kind != "PersistentVolumeClaim" {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.invalid(&at, &kind.into(), why);
        }
        if !group.is_empty() {
            let problems = Form::Subdomain.problems(group);
            errors.invalid_each(&format!("{at}.apiGroup"), group, problems);
        }
    }
    let (old, new) = (value(spec, "dataSource"), value(spec, "dataSourceRef"));
    let elsewhere = part(spec, "dataSourceRef").is_some_and(|r| !text(r, "namespace").is_empty());
    if old.is_some() && new.is_some() && !elsewhere && old != new {
        errors.invalid("spec", &"spec.dataSource".into(), "must match dataSourceRef");
    }
    if elsewhere && old.is_some() {
        let why = "may not be specified when dataSourceRef.namespace is specified";
        errors.invalid("spec", &"spec.dataSource".into(), why);
    }
}

/// A claim's wishes are fixed, but for its size when it is bound, and the volume that it is bound to.
fn claim_changed(object: &Object, before: &Object, errors: &mut Errors) {
    let bound = |o| field::text(o, &["status", "phase"]) == Some("Bound");
    let both_bound = bound(object) && bound(before);
    let spec = |o: &Object| part(o, "spec").cloned().unwrap_or_default();
    let (mut new, mut old) = (spec(object), spec(before));
    if text(&old, "volumeName").is_empty() {
        new.remove("volumeName");
        old.remove("volumeName");
    }
    let size = |spec: &Object| {
        let amount = field::get(spec, &["resources", "requests", "storage"]);
        amount.and_then(|a| Quantity::from_value(a).ok())
    };
    let (wanted, had) = (size(&new), size(&old));
    if both_bound {
        for spec in [&mut new, &mut old] {
            let requests = field::map_mut(spec, &["resources", "requests"]);
            requests.remove("storage");
        }
    }
    for spec in [&mut new, &mut old] {
        spec.remove("volumeAttributesClassName");
    }
    if new.get("volumeMode") != old.get("volumeMode") {
        let shown = new.get("volumeMode").cloned().unwrap_or_default();
        errors.invalid("spec.volumeMode", &shown, "field is immutable");
    }
    if new != old {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound \
                   claims";
        errors.forbidden("spec", why);
    }
    let capacity = field::get(before, &["status", "capacity", "storage"]);
    let capacity = capacity.and_then(|a| Quantity::from_value(a).ok());
    let shrunk = wanted < had && wanted.is_some();
    if both_bound && shrunk && capacity.is_none_or(|capacity| wanted.is_some_and(|w| w <= capacity))
    {
        let why = "field can not be less than status.capacity";
        errors.forbidden("spec.resources.requests.storage", why);
    }
    let class = |o| field::text(o, &["spec", "volumeAttributesClassName"]).map(str::to_owned);
    match (class(before), class(object)) {
        (old, new) if old == new => {}
        (Some(_), None) => {
            let why = "update from non-nil value to nil is forbidden";
            errors.forbidden("spec.volumeAttributesClassName", why);
        }
        _ if !both_bound => {
            let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                       bound claims";
            errors.forbidden("spec", why);
        }
        _ => {}
    }
}

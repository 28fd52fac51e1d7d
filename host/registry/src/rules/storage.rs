//! Storage classes, CSI drivers and what they tell about nodes.

use std::collections::{BTreeSet, HashMap, HashSet};

use quadrille_object::quantity::Quantity;
use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::facts::Fact::{Default, Immutable, Named, OneOf, Required, Selector};
use crate::rules::facts::Literal::{Bool, Text};
use crate::rules::facts::{Form, KindRules, items, part, text, value};

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;
const DRIVER_NAME_BYTES_MAX: usize = 63;
const NODE_ID_BYTES_MAX: usize = 256;
const TOKEN_SECONDS_MIN: i64 = 600;

/// The rules of storage classes.
pub(crate) static STORAGE_CLASSES: KindRules = KindRules {
    facts: &[
        Default("reclaimPolicy", Text("Delete")),
        Default("volumeBindingMode", Text("Immediate")),
        Required("provisioner", ""),
        OneOf("reclaimPolicy", &["Delete", "Retain"]),
        OneOf("volumeBindingMode", &["Immediate", "WaitForFirstConsumer"]),
        Immutable("parameters"),
        Immutable("provisioner"),
        Immutable("reclaimPolicy"),
        Immutable("volumeBindingMode"),
    ],
    validate: |object, errors| {
        let provisioner = text(object, "provisioner");
        if !provisioner.is_empty() {
            let problems = Form::Qualified.problems(&provisioner.to_lowercase());
            errors.invalid_each("provisioner", provisioner, problems);
        }
        if let Some(parameters) = part(object, "parameters") {
            validate_parameters(parameters, errors);
        }
        for (at, term) in items(object, "allowedTopologies", "") {
            for (at, expression) in items(term, "matchLabelExpressions", &at) {
                let values = field::list(expression, &["values"]);
                if values.is_empty() {
                    errors.required(format!("{at}.values"), "");
                }
                let mut seen = HashSet::new();
                for (index, value) in values.iter().enumerate() {
                    if !seen.insert(value) {
                        errors.duplicate(format!("{at}.values[{index}]"), value);
                    }
                }
                let key = text(expression, "key");
                errors.invalid_each(&format!("{at}.key"), key, Form::Qualified.problems(key));
            }
        }
    },
    ..KindRules::PLAIN
};

fn validate_parameters(parameters: &Object, errors: &mut Errors) {
    if parameters.len() > PARAMETERS_MAX {
        errors.too_long("parameters", PARAMETERS_MAX);
        return;
    }
    let length = |(k, v): (&String, &Value)| k.len() + v.as_str().map_or(0, str::len);
    if parameters.keys().any(String::is_empty) {
        errors.invalid("parameters", &"".into(), "field can not be empty.");
    }
    if parameters.iter().map(length).sum::<usize>() > PARAMETERS_BYTES_MAX {
        errors.too_long("parameters", PARAMETERS_BYTES_MAX);
    }
}

/// The name of a CSI driver.
fn validate_driver(at: &str, name: &str, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(at, "");
    }
    if name.len() > DRIVER_NAME_BYTES_MAX {
        errors.too_long(at, DRIVER_NAME_BYTES_MAX);
    }
    errors.invalid_each(at, name, Form::Subdomain.problems(&name.to_lowercase()));
}

/// The rules of CSI drivers.
pub(crate) static CSI_DRIVERS: KindRules = KindRules {
    facts: &[
        Default("spec.attachRequired", Bool(true)),
        Default("spec.podInfoOnMount", Bool(false)),
        Default("spec.storageCapacity", Bool(false)),
        Default("spec.fsGroupPolicy", Text("ReadWriteOnceWithFSType")),
        Default("spec.requiresRepublish", Bool(false)),
        Default("spec.seLinuxMount", Bool(false)),
        OneOf("spec.fsGroupPolicy", &["File", "None", "ReadWriteOnceWithFSType"]),
        OneOf("spec.volumeLifecycleModes[]", &["Ephemeral", "Persistent"]),
        Immutable("spec.attachRequired"),
        Immutable("spec.volumeLifecycleModes"),
    ],
    default: |object| {
        let spec = field::map_mut(object, &["spec"]);
        field::default(spec, "volumeLifecycleModes", json!(["Persistent"]));
    },
    update: |_, object, before| {
        // Only what may change counts, and a new driver has no generation yet.
        let counted = |o: &Object| {
            [
                "tokenRequests",
                "requiresRepublish",
                "seLinuxMount",
                "podInfoOnMount",
                "fsGroupPolicy",
                "storageCapacity",
                "nodeAllocatableUpdatePeriodSeconds",
                "serviceAccountTokenInSecrets",
            ]
            .map(|key| field::get(o, &["spec", key]).cloned())
        };
        if counted(object) != counted(before) {
            let generation = field::integer(before, &["metadata", "generation"]).unwrap_or(0);
            metadata::of_mut(object).insert("generation".to_owned(), (generation + 1).into());
        }
        Ok(())
    },
    validate: validate_csi_driver,
    ..KindRules::PLAIN
};

fn validate_csi_driver(object: &Object, errors: &mut Errors) {
    if metadata::text(object, "name").len() > DRIVER_NAME_BYTES_MAX {
        errors.too_long("metadata.name", DRIVER_NAME_BYTES_MAX);
    }
    let Some(spec) = part(object, "spec") else { return };
    let mut audiences = BTreeSet::new();
    for (at, request) in items(spec, "tokenRequests", "spec") {
        let audience = text(request, "audience");
        if !audiences.insert(audience) {
            errors.duplicate(format!("{at}.audience"), &audience.into());
        }
        let Some(seconds) = request.get("expirationSeconds").and_then(Value::as_i64) else {
            continue;
        };
        let at = format!("{at}.expirationSeconds");
        if seconds < TOKEN_SECONDS_MIN {
            let why = "may not specify a duration less than 10 minutes";
            errors.invalid(at, &seconds.into(), why);
        } else if seconds > 1 << 32 {
            let why = "may not specify a duration larger than 2^32 seconds";
            errors.invalid(at, &seconds.into(), why);
        }
    }
    let period = spec.get("nodeAllocatableUpdatePeriodSeconds").and_then(Value::as_i64);
    if let Some(period) = period.filter(|p| *p < 10) {
        let at = "spec.nodeAllocatableUpdatePeriodSeconds";
        errors.invalid(at, &period.into(), "must be greater than or equal to 10 seconds");
    }
}

/// The rules of what CSI drivers are on a node.
pub(crate) static CSI_NODES: KindRules = KindRules {
    validate: |object, errors| {
        let Some(spec) = part(object, "spec") else { return };
        if value(spec, "drivers").is_none() {
            errors.required("spec.drivers", "");
        }
        let mut names = BTreeSet::new();
        for (at, driver) in items(spec, "drivers", "spec") {
            let name = text(driver, "name");
            validate_driver(&format!("{at}.name"), name, errors);
            let node = text(driver, "nodeID");
            if node.is_empty() {
                errors.required(format!("{at}.nodeID"), "");
            } else if node.len() > NODE_ID_BYTES_MAX {
                let why = format!("must be {NODE_ID_BYTES_MAX} characters or less");
                errors.invalid(format!("{at}.nodeID"), &node.into(), &why);
            }
            if !names.insert(name) {
                errors.duplicate(format!("{at}.name"), &name.into());
            }
            validate_topology(&at, driver, errors);
            let count = field::integer(driver, &["allocatable", "count"]);
            if let Some(count) = count.filter(|c| *c < 0) {
                let why = "must be greater than or equal to 0";
                errors.invalid(format!("{at}.allocatable.count"), &count.into(), why);
            }
        }
    },
    changed: |object, before, errors| {
        let drivers = |o| field::list(o, &["spec", "drivers"]);
        // Of drivers of one name the first counts.
        let named: HashMap<Option<&Value>, &Value> =
            drivers(object).iter().rev().map(|driver| (driver.get("name"), driver)).collect();
        for old in drivers(before) {
            let new = named.get(&old.get("name")).copied();
            let fixed = |d: &Value| {
                ["nodeID", "topologyKeys"].map(|key| d.get(key).cloned().unwrap_or_default())
            };
            if let Some(new) = new.filter(|new| fixed(new) != fixed(old)) {
                errors.invalid("spec.drivers", new, "field is immutable");
            }
        }
    },
    ..KindRules::PLAIN
};

fn validate_topology(at: &str, driver: &Object, errors: &mut Errors) {
    let mut keys = BTreeSet::new();
    for (index, key) in field::list(driver, &["topologyKeys"]).iter().enumerate() {
        let key = key.as_str().unwrap_or_default();
        if key.is_empty() {
            errors.required(format!("{at}.topologyKeys"), "");
        }
        if !keys.insert(key) {
            errors.duplicate(format!("{at}.topologyKeys"), &key.into());
        }
        let at = format!("{at}.topologyKeys[{index}]");
        errors.invalid_each(&at, key, Form::Qualified.problems(key));
    }
}

/// The rules of storage capacities.
pub(crate) static CSI_CAPACITIES: KindRules = KindRules {
    facts: &[
        Required("storageClassName", ""),
        Named("storageClassName", Form::Subdomain),
        Selector("nodeTopology"),
        Immutable("nodeTopology"),
        Immutable("storageClassName"),
    ],
    validate: |object, errors| {
        for key in ["capacity", "maximumVolumeSize"] {
            if let Some(amount) = value(object, key)
                && Quantity::from_value(amount).is_ok_and(Quantity::is_negative)
            {
                errors.invalid(key, amount, "must be greater than or equal to 0");
            }
        }
    },
    ..KindRules::PLAIN
};

/// The rules of volume attachments.
pub(crate) static VOLUME_ATTACHMENTS: KindRules = KindRules {
    facts: &[Immutable("spec")],
    validate: |object, errors| {
        let empty = Object::new();
        let spec = part(object, "spec").unwrap_or(&empty);
        let attacher = text(spec, "attacher");
        validate_driver("spec.attacher", attacher, errors);
        let source = part(spec, "source").unwrap_or(&empty);
        let (inline, named) =
            (value(source, "inlineVolumeSpec"), value(source, "persistentVolumeName"));
        match (inline, named.and_then(Value::as_str)) {
            (None, None) => {
                let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
                errors.required("spec.source", why);
            }
            (Some(_), Some(_)) => {
                let shown = Value::Object(source.clone());
                let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
                errors.invalid("spec.source", &shown, why);
            }
            (None, Some("")) => {
                errors.required(
                    "spec.source.persistentVolumeName",
                    "must specify non empty persistentVolumeName",
                );
            }
            (None, Some(name)) => {
                let problems = Form::Subdomain.problems(name);
                errors.invalid_each("spec.source.persistentVolumeName", name, problems);
            }
            (Some(_), None) => {}
        }
        let node = text(spec, "nodeName");
        errors.invalid_each("spec.nodeName", node, Form::Subdomain.problems(node));
    },
    ..KindRules::PLAIN
};

/// The rules of classes of volume attributes.
pub(crate) static VOLUME_ATTRIBUTES_CLASSES: KindRules = KindRules {
    validate: |object, errors| {
        validate_driver("driverName", text(object, "driverName"), errors);
        match part(object, "parameters") {
            None => errors.required("parameters", "must contain at least one key/value pair"),
            Some(parameters) => validate_parameters(parameters, errors),
        }
    },
    changed: |object, before, errors| {
        for key in ["driverName", "parameters"] {
            if object.get(key) != before.get(key) {
                errors.forbidden(key, &format!("updates to {key} are forbidden."));
            }
        }
    },
    ..KindRules::PLAIN
};

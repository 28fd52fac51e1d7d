//! Devices and the claims on them (`resource.k8s.io`). Nothing here hands devices out.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use quadrille_cel::{Declared, Environment, ObjectType, OpaqueType, Type};
use quadrille_object::validate_name;
use serde_json::Value;

use crate::field::{self, Errors, Object};
use crate::rules::facts::Fact::{Default, Immutable, Named, Required};
use crate::rules::facts::Literal::Text;
use crate::rules::facts::{Form, KindRules, items, part, text, value};

/// Bounds of Kubernetes.
const SELECTORS_MAX: usize = 32;
const REQUESTS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const DEVICES_MAX: usize = 128;
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
const DRIVER_BYTES_MAX: u64 = 63;

/// The rules of classes of devices.
pub(crate) static DEVICE_CLASSES: KindRules = KindRules {
    validate: |object, errors| {
        let empty = Object::new();
        let spec = part(object, "spec").unwrap_or(&empty);
        validate_selectors("spec", spec, errors);
        let name = text(spec, "extendedResourceName");
        if !name.is_empty() {
            let problems = Form::Qualified.problems(name);
            errors.invalid_each("spec.extendedResourceName", name, problems);
        }
    },
    ..KindRules::PLAIN
};

fn validate_selectors(at: &str, holder: &Object, errors: &mut Errors) {
    let selectors = items(holder, "selectors", at);
    if selectors.len() > SELECTORS_MAX {
        errors.too_many(format!("{at}.selectors"), selectors.len(), SELECTORS_MAX);
    }
    for (at, selector) in selectors {
        let Some(cel) = part(selector, "cel") else {
            errors.required(format!("{at}.cel"), "");
            continue;
        };
        let expression = text(cel, "expression");
        let at = format!("{at}.cel.expression");
        if expression.is_empty() {
            errors.required(at, "");
        } else if expression.len() > EXPRESSION_BYTES_MAX {
            errors.too_long(at, EXPRESSION_BYTES_MAX);
        } else {
            validate_expression(&at, expression, errors);
        }
    }
}

/// What an expression sees: the device that may be chosen.
static DEVICE: LazyLock<Environment> = LazyLock::new(|| {
    let values = |of| Declared::map(Declared::map(of, None), None);
    let quantity = Declared::of_type(Type::Opaque(OpaqueType::Quantity));
    let fields = [
        ("driver", Declared::string(Some(DRIVER_BYTES_MAX))),
        ("attributes", values(Declared::dynamic())),
        ("capacity", values(quantity)),
        ("allowMultipleAllocations", Declared::of_type(Type::Bool)),
    ];
    let fields = fields.map(|(name, declared)| (name.to_owned(), declared));
    let device = ObjectType::new("kubernetes.DRADevice", fields);
    Environment::new().declared("device", Declared::object(device)).bindings()
});

fn validate_expression(at: &str, expression: &str, errors: &mut Errors) {
    match DEVICE.compile(expression) {
        Err(error) => {
            let why = format!("compilation failed: {error}");
            errors.invalid(at, &expression.into(), &why);
        }
        Ok(program) if !matches!(program.result_type(), Type::Bool | Type::Dyn) => {
            errors.invalid(at, &expression.into(), "must evaluate to bool");
        }
        Ok(_) => {}
    }
}

/// The rules of claims.
pub(crate) static CLAIMS: KindRules = KindRules {
    facts: &[
        Default("spec.devices.requests[].exactly.allocationMode", Text("ExactCount")),
        Default("spec.devices.requests[].firstAvailable[].allocationMode", Text("ExactCount")),
        Immutable("spec"),
    ],
    default: |object| count_one(object, &["spec"]),
    validate: |object, errors| validate_claim("spec", part(object, "spec"), errors),
    ..KindRules::PLAIN
};

/// The rules of templates of claims.
pub(crate) static CLAIM_TEMPLATES: KindRules = KindRules {
    facts: &[
        Default("spec.spec.devices.requests[].exactly.allocationMode", Text("ExactCount")),
        Default("spec.spec.devices.requests[].firstAvailable[].allocationMode", Text("ExactCount")),
        Immutable("spec"),
    ],
    default: |object| count_one(object, &["spec", "spec"]),
    validate: |object, errors| {
        let spec = part(object, "spec").and_then(|spec| part(spec, "spec"));
        validate_claim("spec.spec", spec, errors);
    },
    ..KindRules::PLAIN
};

/// Who counts devices and says no number wants one.
fn count_one(object: &mut Object, path: &[&str]) {
    let mut place = object.get_mut(path.first().copied().unwrap_or_default());
    for key in path.iter().skip(1) {
        place = place.and_then(|value| value.get_mut(*key));
    }
    let requests = place.and_then(|spec| spec.get_mut("devices")?.get_mut("requests"));
    for request in requests.and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(request) = request.as_object_mut() else { continue };
        for (key, of) in request.iter_mut() {
            let each: Vec<&mut Object> = if key == "exactly" {
                of.as_object_mut().into_iter().collect()
            } else if key == "firstAvailable" {
                let list = of.as_array_mut().into_iter().flatten();
                list.filter_map(Value::as_object_mut).collect()
            } else {
                Vec::new()
            };
            for request in each {
                if text(request, "allocationMode") == "ExactCount" {
                    field::default(request, "count", 1);
                }
            }
        }
    }
}

fn validate_claim(at: &str, spec: Option<&Object>, errors: &mut Errors) {
    let empty = Object::new();
    let devices = spec.and_then(|spec| part(spec, "devices")).unwrap_or(&empty);
    let at = format!("{at}.devices");
    let requests = items(devices, "requests", &at);
    if requests.len() > REQUESTS_MAX {
        errors.too_many(format!("{at}.requests"), requests.len(), REQUESTS_MAX);
    }
    let mut names = BTreeSet::new();
    for (at, request) in requests {
        let name = text(request, "name");
        validate_request_name(&at, name, errors);
        if !names.insert(name.to_owned()) {
            errors.duplicate(format!("{at}.name"), &name.into());
        }
        let alternatives = items(request, "firstAvailable", &at);
        match (part(request, "exactly"), alternatives.is_empty()) {
            (Some(_), false) => {
                let shown = Value::Object(request.clone());
                let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
                errors.invalid(&at, &shown, why);
            }
            (None, true) => {
                errors.required(&at, "exactly one of `exactly` or `firstAvailable` is required");
            }
            (Some(exactly), true) => validate_exact(&format!("{at}.exactly"), exactly, errors),
            (None, false) => {
                if alternatives.len() > ALTERNATIVES_MAX {
                    let at = format!("{at}.firstAvailable");
                    errors.too_many(at, alternatives.len(), ALTERNATIVES_MAX);
                }
                for (at, alternative) in alternatives {
                    validate_request_name(&at, text(alternative, "name"), errors);
                    names.insert(format!("{name}/{}", text(alternative, "name")));
                    validate_exact(&at, alternative, errors);
                }
            }
        }
    }
    for key in ["constraints", "config"] {
        for (at, item) in items(devices, key, &at) {
            for (index, request) in field::list(item, &["requests"]).iter().enumerate() {
                if !request.as_str().is_some_and(|name| names.contains(name)) {
                    let why = "must be the name of a request in the claim or the name of a request and a subrequest \
                               separated by '/'";
                    errors.invalid(format!("{at}.requests[{index}]"), request, why);
                }
            }
        }
    }
}

fn validate_request_name(at: &str, name: &str, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(format!("{at}.name"), "");
    } else {
        errors.invalid_each(&format!("{at}.name"), name, validate_name::dns_label(name));
    }
}

fn validate_exact(at: &str, request: &Object, errors: &mut Errors) {
    match text(request, "deviceClassName") {
        "" => errors.required(format!("{at}.deviceClassName"), ""),
        class => {
            let problems = Form::Subdomain.problems(class);
            errors.invalid_each(&format!("{at}.deviceClassName"), class, problems);
        }
    }
    validate_selectors(at, request, errors);
    let count = request.get("count").and_then(Value::as_i64).unwrap_or(0);
    match text(request, "allocationMode") {
        "All" if count != 0 => {
            let why = "must not be specified when allocationMode is 'All'";
            errors.invalid(format!("{at}.count"), &count.into(), why);
        }
        "ExactCount" if count <= 0 => {
            errors.invalid(format!("{at}.count"), &count.into(), "must be greater than zero");
        }
        "All" | "ExactCount" => {}
        other => {
            let known = ["All", "ExactCount"];
            errors.unsupported(format!("{at}.allocationMode"), &other.into(), &known);
        }
    }
}

/// The rules of the devices that a driver offers.
pub(crate) static SLICES: KindRules = KindRules {
    facts: &[
        Required("spec.driver", ""),
        Named("spec.driver", Form::Subdomain),
        Required("spec.pool.name", ""),
        Immutable("spec.driver"),
        Immutable("spec.nodeName"),
    ],
    validate: |object, errors| {
        let empty = Object::new();
        let spec = part(object, "spec").unwrap_or(&empty);
        let pool = part(spec, "pool").unwrap_or(&empty);
        let number = |key: &str| pool.get(key).and_then(Value::as_i64).unwrap_or(0);
        for part in text(pool, "name").split('/').filter(|part| !part.is_empty()) {
            errors.invalid_each("spec.pool.name", part, Form::Subdomain.problems(part));
        }
        if number("resourceSliceCount") <= 0 {
            let at = "spec.pool.resourceSliceCount";
            errors.invalid(at, &number("resourceSliceCount").into(), "must be greater than zero");
        }
        if number("generation") < 0 {
            let why = "must be greater than or equal to zero";
            errors.invalid("spec.pool.generation", &number("generation").into(), why);
        }
        let places = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
        let set = places.iter().filter(|key| {
            value(spec, key).is_some_and(|v| v != &Value::Bool(false) && v.as_str() != Some(""))
        });
        let why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
        match set.count() {
            1 => {}
            0 => errors.required("spec", why),
            _ => {
                let shown = Value::Object(spec.clone());
                errors.invalid("spec", &shown, &format!("{why}, but multiple fields are set"));
            }
        }
        let devices = items(spec, "devices", "spec");
        if devices.len() > DEVICES_MAX {
            errors.too_many("spec.devices", devices.len(), DEVICES_MAX);
        }
        let mut names = BTreeSet::new();
        for (at, device) in devices {
            let name = text(device, "name");
            validate_request_name(&at, name, errors);
            if !names.insert(name) {
                errors.duplicate(format!("{at}.name"), &name.into());
            }
        }
    },
    ..KindRules::PLAIN
};

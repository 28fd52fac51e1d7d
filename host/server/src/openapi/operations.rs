//! The paths of `OpenAPI` documents: which verbs a resource answers, with which parameters.
//!
//! kubectl looks up `dryRun` and `fieldValidation` under the `patch` operation of a kind before it uses them.

use quadrille_registry::Resource;
use serde_json::{Map, Value, json};

/// Query parameters by verb.
const WRITE: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE: &[(&str, &str)] =
    &[("dryRun", "string"), ("gracePeriodSeconds", "integer"), ("propagationPolicy", "string")];

/// Which operation answers which verb, at the list's and at the object's path.
const AT_LIST: &[(&str, &str, &str)] = &[
    ("get", "list", "list"),
    ("post", "create", "post"),
    ("delete", "deletecollection", "deletecollection"),
];
const EVERYWHERE: &[(&str, &str, &str)] = &[("get", "list", "list")];
const AT_OBJECT: &[(&str, &str, &str)] = &[
    ("get", "get", "get"),
    ("put", "update", "put"),
    ("patch", "patch", "patch"),
    ("delete", "delete", "delete"),
];

/// The same at a subresource's path.
const AT_SUBRESOURCE: &[(&str, &str, &str)] = &[
    ("get", "get", "get"),
    ("post", "create", "post"),
    ("put", "update", "put"),
    ("patch", "patch", "patch"),
];

/// The version of the document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    V2,
    V3,
}

/// What the schemas of a resource are called, or referred to by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// Of one object.
    pub(super) object: String,
    /// Of a list of them.
    pub(super) list: String,
}

impl Names {
    /// The names behind what refers to them.
    pub(super) fn at(&self, prefix: &str) -> Self {
        Self { object: format!("{prefix}{}", self.object), list: format!("{prefix}{}", self.list) }
    }
}

/// Adds the paths of a resource to a version 3 document.
pub(super) fn add_paths(paths: &mut Map<String, Value>, resource: &Resource, schemas: &Names) {
    add(paths, resource, schemas, Form::V3);
}

/// Adds the paths of a resource to a version 2 document.
pub(super) fn add_paths_v2(paths: &mut Map<String, Value>, resource: &Resource, schemas: &Names) {
    add(paths, resource, schemas, Form::V2);
}

fn add(paths: &mut Map<String, Value>, resource: &Resource, schemas: &Names, form: Form) {
    let gvr = &resource.gvr;
    let root = if gvr.group.is_empty() {
        format!("/api/{}", gvr.version)
    } else {
        format!("/apis/{}/{}", gvr.group, gvr.version)
    };
    let inside = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let list = format!("{root}{inside}/{}", gvr.resource);
    let object = format!("{list}/{{name}}");
    let of = |table, verbs: &[&str]| operations(resource, table, verbs, schemas, form);
    insert(paths, &list, of(AT_LIST, &resource.verbs), form);
    insert(paths, &object, of(AT_OBJECT, &resource.verbs), form);
    for sub in &resource.subresources {
        insert(paths, &format!("{object}/{}", sub.name), of(AT_SUBRESOURCE, &sub.verbs), form);
    }
    if resource.namespaced && resource.verbs.contains(&"list") {
        insert(paths, &format!("{root}/{}", gvr.resource), of(EVERYWHERE, &resource.verbs), form);
    }
}

fn insert(
    paths: &mut Map<String, Value>,
    path: &str,
    mut operations: Map<String, Value>,
    form: Form,
) {
    if operations.is_empty() {
        return;
    }
    let named = ["namespace", "name"].into_iter().filter(|n| path.contains(&format!("{{{n}}}")));
    let parameters: Vec<Value> = named
        .map(|n| match form {
            Form::V2 => json!({
                "name": n, "in": "path", "required": true, "type": "string", "uniqueItems": true,
            }),
            Form::V3 => {
                json!({"name": n, "in": "path", "required": true, "schema": {"type": "string"}})
            }
        })
        .collect();
    operations.insert("parameters".to_owned(), Value::Array(parameters));
    paths.insert(path.to_owned(), Value::Object(operations));
}

fn operations(
    resource: &Resource,
    table: &[(&str, &str, &str)],
    verbs: &[&str],
    schemas: &Names,
    form: Form,
) -> Map<String, Value> {
    let served = table.iter().filter(|(_, verb, _)| verbs.contains(verb));
    served
        .map(|(method, verb, action)| {
            ((*method).to_owned(), operation(resource, verb, action, schemas, form))
        })
        .collect()
}

fn operation(resource: &Resource, verb: &str, action: &str, schemas: &Names, form: Form) -> Value {
    let kind = &resource.kind;
    let schema: &str = &schemas.object;
    let answer: &str = if verb == "list" { &schemas.list } else { schema };
    let mut parameters: Vec<Value> = match verb {
        "list" => LIST,
        "create" | "update" | "patch" => WRITE,
        "delete" | "deletecollection" => DELETE,
        _ => &[],
    }
    .iter()
    .map(|(name, r#type)| parameter(name, r#type, form))
    .collect();
    if verb == "patch" {
        parameters.push(parameter("force", "boolean", form));
    }
    let ok = match form {
        Form::V2 => json!({"description": "OK", "schema": {"$ref": answer}}),
        Form::V3 => json!({"description": "OK", "content": content(answer)}),
    };
    let mut operation = json!({
        "operationId": format!("{action}{}{}", capitalised(&kind.version), kind.kind),
        "parameters": parameters,
        "responses": {"200": ok},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {
            "group": *kind.group, "version": *kind.version, "kind": *kind.kind,
        },
    });
    let with_body = matches!(verb, "create" | "update");
    if let Some(map) = operation.as_object_mut().filter(|_| with_body) {
        match form {
            Form::V3 => {
                let body = json!({"content": content(schema), "required": true});
                map.insert("requestBody".to_owned(), body);
            }
            Form::V2 => {
                let body = json!({"name": "body", "in": "body", "required": true, "schema": {"$ref": schema}});
                if let Some(parameters) = map.get_mut("parameters").and_then(Value::as_array_mut) {
                    parameters.push(body);
                }
            }
        }
    }
    operation
}

fn content(schema: &str) -> Value {
    json!({"application/json": {"schema": {"$ref": schema}}})
}

fn parameter(name: &str, r#type: &str, form: Form) -> Value {
    match form {
        Form::V2 => json!({"name": name, "in": "query", "type": r#type, "uniqueItems": true}),
        Form::V3 => json!({"name": name, "in": "query", "schema": {"type": r#type}}),
    }
}

fn capitalised(version: &str) -> String {
    let mut letters = version.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

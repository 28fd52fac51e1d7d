//! The status of validating policies: what their expressions get wrong about the kinds they are for.
//!
//! A policy is accepted when its expressions compile against any object. What the schemas of the kinds in its rules
//! know better is written to `status.typeChecking` right after the commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use quadrille_cel::{Declared, SchemaRoot};
use quadrille_object::schema;
use quadrille_store::{Cause, Committed, Key, Object as Stored, SystemCause, View};
use serde_json::{Map, Value, json};

use crate::admission::expression::{Returns, Scope};
use crate::admission::hooks;
use crate::catalog::{Catalog, Resource};
use crate::definition::follow::host_request;
use crate::field::{self, Object};
use crate::registry::Registry;
use crate::request::{Action, Target};
use crate::status::{Reason, Status};
use crate::write::parse;

const POLICIES: &str = "validatingadmissionpolicies";
const MANAGER: &str = "validatingadmissionpolicy-status";
/// How many kinds one policy is checked against.
const KINDS_MAX: usize = 10;
/// How deep and how large the schema of one kind is looked at; what is beyond may hold anything.
const DEPTH_MAX: usize = 24;
const NODES_MAX: usize = 20_000;

impl Registry {
    /// Gives the committed policies their status.
    pub(crate) async fn check_policies(&self, committed: &Committed) {
        let policies = committed.objects.iter().filter(|object| is_policy(&object.key));
        for policy in policies.filter(|policy| policy.meta.deleted_at.is_none()) {
            // The status is for people; without it the policy works.
            if let Err(error) = self.check_policy(policy).await {
                tracing::warn!(object = %policy.key, %error, "policy's types are not checked");
            }
        }
    }

    async fn check_policy(&self, stored: &Stored) -> Result<(), Status> {
        let snapshot = self.store().snapshot();
        let Some(stored) = snapshot.get(&stored.key) else { return Ok(()) };
        let policy = parse(&stored)?;
        let generation = field::integer(&policy, &["metadata", "generation"]);
        if field::integer(&policy, &["status", "observedGeneration"]) == generation {
            return Ok(());
        }
        let catalog = self.catalog();
        let Some(resource) = catalog.by_group_resource(&stored.key.resource).cloned() else {
            return Ok(());
        };
        let warnings = warnings(&policy, &catalog, &snapshot);
        let checked =
            if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) };
        let status = json!({
            "apiVersion": *resource.api_version, "kind": *resource.kind.kind,
            "metadata": {"name": *stored.key.name},
            "status": {"observedGeneration": generation, "typeChecking": checked},
        });
        let target = Target {
            resource,
            namespace: "".into(),
            name: Some(Arc::clone(&stored.key.name)),
            subresource: Some("status".into()),
        };
        let mut request = host_request(target, Action::Apply(status.into()));
        request.options.field_manager = Some(MANAGER.into());
        request.options.force = true;
        let cause = Cause::System(SystemCause {
            part: "policies".to_owned(),
            act: format!("check the types of {}", stored.key.name),
            because: vec![stored.revision],
        });
        match Box::pin(self.submit(&request, cause)).await {
            Err(status) if !matches!(status.reason, Reason::NotFound | Reason::Conflict) => {
                Err(status)
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn is_policy(key: &Key) -> bool {
    hooks::is_hook(key) && *key.resource.resource == *POLICIES
}

/// What is wrong with which expression, for each kind that the policy names.
fn warnings(policy: &Object, catalog: &Catalog, view: &dyn View) -> Vec<Value> {
    let kinds = kinds(policy, catalog);
    let types =
        kinds.iter().filter_map(|resource| Some((kind_text(resource), declared(resource, view)?)));
    let types: Vec<(String, Declared)> = types.collect();
    let spec = policy.get("spec").unwrap_or(&Value::Null);
    let mut found: BTreeMap<usize, (String, String)> = BTreeMap::new();
    for (kind, declared) in &types {
        for (order, (path, why)) in problems(spec, declared).into_iter().enumerate() {
            let Some(why) = why else { continue };
            let (_, text) = found.entry(order).or_insert_with(|| (path, String::new()));
            text.extend([kind, ": ", &why, "\n"]);
        }
    }
    let warning = |(path, text): (String, String)| json!({"fieldRef": path, "warning": text});
    found.into_values().map(warning).collect()
}

/// Each expression's path with what is wrong with it for one type of object.
fn problems(spec: &Value, declared: &Declared) -> Vec<(String, Option<String>)> {
    let list = |key: &str| spec.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let text = |of: &'_ Value, key: &str| {
        of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut scope = Scope::new(spec.get("paramKind").is_some_and(|kind| !kind.is_null()));
    let mut all = Vec::new();
    let cleaned = |why: String| why.trim_start_matches("compilation failed: ").to_owned();
    for (index, variable) in list("variables").iter().enumerate() {
        let (name, expression) = (text(variable, "name"), text(variable, "expression"));
        let program = scope.compile_for(declared, &expression, Returns::Any);
        let ty = program.as_ref().map_or(quadrille_cel::Type::Dyn, |p| p.result_type().clone());
        scope.variables.push((format!("variables.{name}"), ty));
        let path = format!("spec.variables[{index}].expression");
        all.push((path, program.err().map(cleaned)));
    }
    for (index, validation) in list("validations").iter().enumerate() {
        let at = format!("spec.validations[{index}]");
        let check = |key: &str, scope: &Scope, returns: Returns| {
            let text = text(validation, key);
            let wrong = if text.is_empty() {
                None
            } else {
                scope.compile_for(declared, &text, returns).err().map(cleaned)
            };
            (format!("{at}.{key}"), wrong)
        };
        all.push(check("expression", &scope, Returns::Any));
        all.push(check("messageExpression", &scope.without_authorizer(), Returns::Any));
    }
    all
}

/// The kinds that the rules name, as far as they name them.
fn kinds(policy: &Object, catalog: &Catalog) -> Vec<Arc<Resource>> {
    let rules = field::list(policy, &["spec", "matchConstraints", "resourceRules"]);
    let mut all: Vec<Arc<Resource>> = Vec::new();
    for rule in rules {
        let texts = |key: &str| -> Vec<&str> {
            let list = rule.get(key).and_then(Value::as_array);
            let texts: Vec<&str> = list.into_iter().flatten().filter_map(Value::as_str).collect();
            if texts.contains(&"*") { Vec::new() } else { texts }
        };
        let (groups, versions, resources) =
            (texts("apiGroups"), texts("apiVersions"), texts("resources"));
        for resource in catalog.resources.values() {
            let gvr = &resource.gvr;
            let named = groups.contains(&&*gvr.group)
                && versions.contains(&&*gvr.version)
                && resources.contains(&&*gvr.resource);
            if named && all.len() < KINDS_MAX && !all.iter().any(|other| other.gvr == *gvr) {
                all.push(Arc::clone(resource));
            }
        }
    }
    all
}

fn kind_text(resource: &Resource) -> String {
    format!("{}, Kind={}", resource.api_version, resource.kind.kind)
}

fn declared(resource: &Resource, view: &dyn View) -> Option<Declared> {
    if !resource.custom {
        let schema = builtin_schema(resource)?;
        return Declared::of_schema(&schema, SchemaRoot::Part, &resource.kind.kind);
    }
    let definition: Object = serde_json::from_slice(&resource.definition_json(view)?).ok()?;
    let versions = field::list(&definition, &["spec", "versions"]).iter();
    let mut of_version =
        versions.filter(|v| v.get("name").and_then(Value::as_str) == Some(&resource.gvr.version));
    let schema = of_version.next()?.pointer("/schema/openAPIV3Schema")?;
    Declared::of_schema(schema, SchemaRoot::Resource, &resource.kind.kind)
}

/// The schema of a built-in kind with its references followed.
fn builtin_schema(resource: &Resource) -> Option<Value> {
    let document: Value = serde_json::from_str(schema::builtin_shapes()).ok()?;
    let definitions = document.get("definitions").and_then(Value::as_object)?;
    let group = resource.kind.group.split('.').next().filter(|first| !first.is_empty());
    let (group, version) = (group.unwrap_or("core"), &resource.kind.version);
    let ending = format!(".{group}.{version}.{}", resource.kind.kind);
    let (_, root) = definitions.iter().find(|(name, _)| name.ends_with(&ending))?;
    let mut left = NODES_MAX;
    Some(resolved(root, definitions, DEPTH_MAX, &mut left))
}

fn resolved(of: &Value, definitions: &Map<String, Value>, depth: usize, left: &mut usize) -> Value {
    let anything = || json!({"x-kubernetes-preserve-unknown-fields": true, "type": "object"});
    if depth == 0 || *left == 0 {
        return anything();
    }
    *left -= 1;
    let reference = of.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    if let Some(name) = reference {
        let Some(target) = definitions.get(name) else { return anything() };
        return resolved(target, definitions, depth - 1, left);
    }
    if of.get("format").and_then(Value::as_str) == Some("int-or-string") {
        return json!({"x-kubernetes-int-or-string": true});
    }
    let Value::Object(fields) = of else { return anything() };
    let mut out = fields.clone();
    if let Some(properties) = fields.get("properties").and_then(Value::as_object) {
        let resolve = |(name, of): (&String, &Value)| {
            (name.clone(), resolved(of, definitions, depth - 1, left))
        };
        let properties: Map<String, Value> = properties.iter().map(resolve).collect();
        out.insert("properties".to_owned(), Value::Object(properties));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get(key).filter(|inner| inner.is_object()) {
            out.insert(key.to_owned(), resolved(inner, definitions, depth - 1, left));
        }
    }
    let open = !out.contains_key("properties") && !out.contains_key("additionalProperties");
    if open && matches!(out.get("type").and_then(Value::as_str), Some("object") | None) {
        return anything();
    }
    Value::Object(out)
}

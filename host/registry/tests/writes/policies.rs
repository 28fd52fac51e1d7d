//! Claims about validating and mutating admission policies.

use quadrille_registry::{Action, Actor, Body, Reason, WriteOptions};
use serde_json::{Value, json};

use crate::support::{DEFINITION, Host, Place, deployment, version, widgets};

const GROUP: &str = "admissionregistration.k8s.io/v1";
const MAP: Place<'static> = ("v1", "ConfigMap", "default", "a");

fn place(kind: &'static str) -> Place<'static> {
    (GROUP, kind, "", "p")
}

/// What matches new and changed objects of a resource.
fn rules(group: &str, version: &str, resource: &str) -> Value {
    json!({"resourceRules": [{
        "apiGroups": [group], "apiVersions": [version], "resources": [resource],
        "operations": ["CREATE", "UPDATE"],
    }]})
}

fn with(mut spec: Value, key: &str, value: Value) -> Value {
    spec[key] = value;
    spec
}

impl Host {
    /// A validating policy of one expression with a binding that denies.
    async fn policy(&self, constraints: Value, expression: &str) {
        let spec = json!({
            "matchConstraints": constraints, "validations": [{"expression": expression}],
        });
        self.validating(spec, json!({"validationActions": ["Deny"]})).await;
    }

    async fn validating(&self, spec: Value, binding: Value) {
        let policy = json!({"metadata": {"name": "p"}, "spec": spec});
        self.create(place("ValidatingAdmissionPolicy"), policy).await.expect("a policy");
        let binding = with(binding, "policyName", "p".into());
        let binding = json!({"metadata": {"name": "p"}, "spec": binding});
        self.create(place("ValidatingAdmissionPolicyBinding"), binding).await.expect("a binding");
    }

    async fn mutating(&self, name: &str, constraints: Value, mutation: Value, reinvoked: &str) {
        let spec = json!({
            "matchConstraints": constraints, "mutations": [mutation],
            "reinvocationPolicy": reinvoked,
        });
        let policy = json!({"metadata": {"name": name}, "spec": spec});
        self.create(place("MutatingAdmissionPolicy"), policy).await.expect("a policy");
        let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name}});
        self.create(place("MutatingAdmissionPolicyBinding"), binding).await.expect("a binding");
    }
}

fn configuration(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

#[expect(clippy::needless_pass_by_value, reason = "callers write `json!` in place")]
fn map(data: Value) -> Value {
    json!({"metadata": {"name": "a"}, "data": data})
}

#[tokio::test]
async fn a_policy_holds_from_its_answer_on_and_ends_with_its_deletion() {
    let host = Host::start().await;
    host.policy(rules("", "v1", "configmaps"), "!has(object.data)").await;
    let refused = host.create(MAP, map(json!({"k": "v"}))).await.expect_err("refused");
    assert_eq!((refused.reason, refused.code), (Reason::Invalid, 422));
    assert_eq!(
        refused.message,
        "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: failed \
         expression: !has(object.data)"
    );
    host.delete(place("ValidatingAdmissionPolicyBinding")).await.expect("deleted");
    host.create(MAP, map(json!({"k": "v"}))).await.expect("nothing binds the policy any more");
}

#[tokio::test]
async fn a_policy_that_refuses_everything_can_be_taken_away() {
    let host = Host::start().await;
    host.policy(rules("*", "*", "*"), "false").await;
    host.create(MAP, map(json!({}))).await.expect_err("refused");
    let patch = json!({"spec": {"validations": [{"expression": "true"}]}});
    host.merge(place("ValidatingAdmissionPolicy"), patch)
        .await
        .expect("policies do not see policies");
    host.create(MAP, map(json!({}))).await.expect("allowed");
}

#[tokio::test]
async fn a_policy_for_one_version_sees_requests_in_another_as_that_one() {
    let host = Host::start().await;
    let versions = json!([version("v1", true), version("v2", false)]);
    host.create(DEFINITION, widgets(&versions)).await.expect("served");
    let expression = "object.apiVersion == 'example.com/v1' && request.requestKind.version == 'v2' && \
                      request.kind.version == 'v1' && object.spec.size < 5";
    host.policy(rules("example.com", "v1", "widgets"), expression).await;
    let widget = ("example.com/v2", "Widget", "default", "w");
    let body = |size: i64| json!({"metadata": {"name": "w"}, "spec": {"size": size}});
    host.create(widget, body(7)).await.expect_err("too large");
    host.create(widget, body(4)).await.expect("seen as v1");
}

#[tokio::test]
async fn parameters_are_selected_and_each_of_them_counts() {
    let host = Host::start().await;
    let spec = json!({
        "matchConstraints": rules("", "v1", "secrets"),
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{
            "expression": "object.metadata.name != params.data.forbidden",
            "messageExpression": "'not ' + params.data.forbidden",
        }],
    });
    let selector = json!({"matchLabels": {"of": "policy"}});
    let reference = json!({"selector": selector, "parameterNotFoundAction": "Deny"});
    host.validating(spec, json!({"validationActions": ["Deny"], "paramRef": reference})).await;
    let secret = |name: &'static str| {
        let place = ("v1", "Secret", "default", name);
        host.create(place, json!({"metadata": {"name": name}}))
    };
    let refused = secret("a").await.expect_err("no parameters");
    assert!(refused.message.contains("no params found for policy binding"), "{refused}");
    for name in ["x", "y"] {
        let metadata = json!({"name": name, "labels": {"of": "policy"}});
        let param = json!({"metadata": metadata, "data": {"forbidden": name}});
        host.create(("v1", "ConfigMap", "default", name), param).await.expect("a parameter");
    }
    let refused = secret("y").await.expect_err("the second parameter forbids it");
    assert!(refused.message.ends_with("denied request: not y"), "{refused}");
    secret("z").await.expect("allowed");
}

#[tokio::test]
async fn warnings_and_audit_annotations_travel_with_the_write() {
    let host = Host::start().await;
    let spec = json!({
        "matchConstraints": rules("", "v1", "configmaps"),
        "variables": [{"name": "count", "expression": "has(object.data) ? object.data.size() : 0"}],
        "validations": [{"expression": "variables.count < 1", "message": "too much"}],
        "auditAnnotations": [
            {"key": "count", "valueExpression": "string(variables.count)"},
            {"key": "never", "valueExpression": "variables.count > 9 ? 'x' : ''"},
        ],
    });
    host.validating(spec, json!({"validationActions": ["Warn", "Audit"]})).await;
    let body = with(map(json!({"k": "v"})), "apiVersion", "v1".into());
    let body = Body::from(with(body, "kind", "ConfigMap".into()));
    let place = ("v1", "ConfigMap", "default", "");
    let written = host.write(place, Action::Create(body), WriteOptions::default()).await;
    let written = written.expect("only a warning");
    assert_eq!(
        written.warnings,
        ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p': too much"]
    );
    let audit: Vec<&str> = written.audit.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(audit, ["p/count", "validation.policy.admission.k8s.io/validation_failure"]);
    assert_eq!(written.audit[0].1, "1");
    assert!(written.audit[1].1.contains("\"message\":\"too much\""), "{:?}", written.audit[1]);
}

#[tokio::test]
async fn an_apply_configuration_is_merged_by_the_keys_of_lists() {
    let host = Host::start().await;
    let expression = "Object{metadata: Object.metadata{labels: {'added': 'yes'}}, spec: Object.spec{template: \
                      Object.spec.template{spec: Object.spec.template.spec{containers: \
                      [Object.spec.template.spec.containers{name: 'side', image: 'side:1'}]}}}}";
    let constraints = rules("apps", "v1", "deployments");
    host.mutating("p", constraints, configuration(expression), "Never").await;
    let place = ("apps/v1", "Deployment", "default", "d");
    let made = host.create(place, deployment("d")).await.expect("created");
    assert_eq!(made.pointer("/metadata/labels/added"), Some(&json!("yes")));
    let containers = made.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let names: Vec<&str> =
        containers.into_iter().flatten().filter_map(|c| c.get("name")?.as_str()).collect();
    assert_eq!(names.len(), 2, "one of the client's and one of the policy's: {names:?}");
    let side = containers.into_iter().flatten().find(|c| c["name"] == "side").expect("added");
    assert_eq!(side["imagePullPolicy"], "IfNotPresent", "what a policy adds gets its defaults");
}

#[tokio::test]
async fn a_json_patch_of_a_policy_is_applied_in_order() {
    let host = Host::start().await;
    let expression = "[JSONPatch{op: 'test', path: '/data/k', value: 'v'}, JSONPatch{op: 'add', path: \
                      '/metadata/labels', value: {'a': 'b'}}, JSONPatch{op: 'add', path: '/metadata/labels/' + \
                      jsonpatch.escapeKey('example.com/x'), value: 'y'}]";
    host.mutating("p", rules("", "v1", "configmaps"), patch(expression), "Never").await;
    let made = host.create(MAP, map(json!({"k": "v"}))).await.expect("created");
    assert_eq!(made.pointer("/metadata/labels"), Some(&json!({"a": "b", "example.com/x": "y"})));
    host.delete(MAP).await.expect("deleted");
    let refused = host.create(MAP, map(json!({"k": "w"}))).await.expect_err("the test fails");
    assert!(
        refused.message.starts_with("policy 'p' with binding 'p' denied request: "),
        "{refused}"
    );
    assert_eq!(refused.reason, Reason::Invalid);
}

#[tokio::test]
async fn a_mutation_that_wants_it_runs_again_after_a_later_one() {
    let host = Host::start().await;
    // The first copies what the second adds.
    let first = "has(object.data) && 'b' in object.data ? [JSONPatch{op: 'add', path: '/data/a', value: \
                 object.data.b}] : []";
    let second = "[JSONPatch{op: 'add', path: '/data/b', value: 'late'}]";
    let constraints = || rules("", "v1", "configmaps");
    host.mutating("first", constraints(), patch(first), "IfNeeded").await;
    host.mutating("second", constraints(), patch(second), "Never").await;
    let made = host.create(MAP, map(json!({"k": "v"}))).await.expect("created");
    assert_eq!(made.get("data"), Some(&json!({"a": "late", "b": "late", "k": "v"})));
}

#[tokio::test]
async fn a_scale_is_seen_and_changed_as_a_scale() {
    let host = Host::start().await;
    let place = ("apps/v1", "Deployment", "default", "d");
    host.create(place, deployment("d")).await.expect("created");
    let expression = "[JSONPatch{op: 'replace', path: '/spec/replicas', value: 2}]";
    host.mutating("p", rules("apps", "v1", "deployments/scale"), patch(expression), "Never").await;
    host.policy(
        rules("apps", "v1", "deployments/scale"),
        "object.kind == 'Scale' && request.subResource == 'scale' && object.spec.replicas == 2",
    )
    .await;
    let scale = ("apps/v1", "Deployment", "default", "d/scale");
    host.merge(scale, json!({"spec": {"replicas": 9}})).await.expect("scaled");
    let stored = host.get(place).expect("stored");
    assert_eq!(stored.pointer("/spec/replicas"), Some(&json!(2)));
}

#[tokio::test]
async fn a_condition_that_fails_decides_by_the_failure_policy() {
    for (policy, allowed) in [("Fail", false), ("Ignore", true)] {
        let host = Host::start().await;
        let spec = json!({
            "matchConstraints": rules("", "v1", "configmaps"), "failurePolicy": policy,
            "matchConditions": [{"name": "c", "expression": "object.data.nope == 'x'"}],
            "validations": [{"expression": "false"}],
        });
        host.validating(spec, json!({"validationActions": ["Deny"]})).await;
        let created = host.create(MAP, map(json!({"k": "v"}))).await;
        assert_eq!(created.is_ok(), allowed, "{policy}");
    }
}

#[tokio::test]
async fn the_status_of_a_policy_says_what_its_kinds_do_not_have() {
    let host = Host::start().await;
    let constraints = rules("apps", "v1", "deployments");
    host.policy(constraints, "object.spec.replicas < 5 && object.spec.frob == 1").await;
    let policy = host.get(place("ValidatingAdmissionPolicy")).expect("stored");
    assert_eq!(policy.pointer("/status/observedGeneration"), Some(&json!(1)));
    let warning = policy.pointer("/status/typeChecking/expressionWarnings/0").expect("a warning");
    assert_eq!(warning["fieldRef"], "spec.validations[0].expression");
    let text = warning["warning"].as_str().unwrap_or_default();
    assert!(text.starts_with("apps/v1, Kind=Deployment: "), "{text}");
    assert!(text.contains("undefined field 'frob'"), "{text}");
}

#[tokio::test]
async fn a_refusal_tells_the_audit_log_too() {
    let host = Host::start().await;
    let spec = json!({
        "matchConstraints": rules("", "v1", "configmaps"),
        "validations": [{"expression": "false", "message": "never"}],
    });
    host.validating(spec, json!({"validationActions": ["Deny", "Audit"]})).await;
    let refused = host.create(MAP, map(json!({}))).await.expect_err("refused");
    let keys: Vec<&str> = refused.audit.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["validation.policy.admission.k8s.io/validation_failure"]);
}

#[tokio::test]
async fn who_may_not_read_the_parameters_may_not_write_the_policy() {
    let host = Host::start().await;
    let alice = || Actor {
        user: "alice".into(),
        groups: ["system:authenticated".into()].into(),
        ..Actor::default()
    };
    let policy = json!({
        "apiVersion": GROUP, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"},
        "spec": {
            "matchConstraints": rules("", "v1", "configmaps"),
            "paramKind": {"apiVersion": "v1", "kind": "Secret"},
            "validations": [{"expression": "true"}],
        },
    });
    let place = (GROUP, "ValidatingAdmissionPolicy", "", "");
    let create = |actor| {
        let action = Action::Create(Body::from(policy.clone()));
        host.write_as(actor, place, action, WriteOptions::default())
    };
    let refused = create(alice()).await.expect_err("alice cannot read Secrets");
    assert_eq!(refused.reason, Reason::Invalid);
    let details = refused.details.expect("details");
    let causes: Vec<_> =
        details.causes.iter().map(|c| (c.field.as_str(), c.reason.as_str())).collect();
    assert_eq!(causes, [("spec.paramKind", "FieldValueForbidden")]);
    let groups = ["system:masters".into(), "system:authenticated".into()];
    create(Actor { groups: groups.into(), ..alice() })
        .await
        .expect("whoever may do everything may");
}

/// Creates an object that is refused and compares field, reason and message of each cause.
async fn refused(kind: &'static str, body: Value, wanted: &[(&str, &str)]) {
    let host = Host::start().await;
    let status = host.create(place(kind), body).await.expect_err("refused");
    let details = status.details.expect("details");
    let causes: Vec<(&str, &str)> =
        details.causes.iter().map(|c| (c.field.as_str(), c.message.as_str())).collect();
    assert_eq!(causes, wanted, "{kind}");
}

#[tokio::test]
async fn each_fault_of_a_mutating_policy_is_named() {
    let spec = json!({
        "matchConstraints": {"resourceRules": [{
            "apiGroups": ["", "*"], "apiVersions": ["v1"], "operations": ["DELETE"],
            "resources": ["pods/*", "pods/status"],
        }]},
        "variables": [{"name": "in", "expression": "1"}],
        "mutations": [
            {"patchType": "JSONPatch", "jsonPatch": {"expression": "[1]"}},
            {"patchType": "ApplyConfiguration", "jsonPatch": {"expression": "[]"}},
            {"patchType": "Merge"},
        ],
    });
    refused(
        "MutatingAdmissionPolicy",
        json!({"metadata": {"name": "p"}, "spec": spec}),
        &[
            (
                "spec.matchConstraints.resourceRules[0].apiGroups",
                "Invalid value: [\"\",\"*\"]: if '*' is present, must not specify other API groups",
            ),
            (
                "spec.matchConstraints.resourceRules[0].resources[1]",
                "Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status",
            ),
            ("spec.variables[0].name", "Invalid value: \"in\": must be a valid CEL identifier"),
            (
                "spec.matchConstraints.resourceRules.operations",
                "Unsupported value: \"DELETE\": supported values: \"CREATE\", \"UPDATE\"",
            ),
            (
                "spec.mutations[0].jsonPatch.expression",
                "Invalid value: \"[1]\": must evaluate to list(JSONPatch) but got list(int)",
            ),
            (
                "spec.mutations[1].applyConfiguration",
                "Required value: must be specified when patchType is ApplyConfiguration",
            ),
            (
                "spec.mutations[1].jsonPatch",
                "Invalid value: \"{jsonPatch}\": must not be specified when patchType is ApplyConfiguration",
            ),
            (
                "spec.mutations[2].patchType",
                "Unsupported value: \"Merge\": supported values: \"ApplyConfiguration\", \"JSONPatch\"",
            ),
            ("spec.reinvocationPolicy", "Required value"),
        ],
    )
    .await;
}

#[tokio::test]
async fn each_fault_of_a_webhook_is_named() {
    let webhook = |name: &str, client: Value| {
        json!({
            "name": name, "clientConfig": client, "sideEffects": "None",
            "admissionReviewVersions": ["v1", "v1"],
            "reinvocationPolicy": "Always",
            "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]},
        })
    };
    let service =
        json!({"service": {"name": "s", "namespace": "n", "path": "/a//B", "port": 70000}});
    let url = json!({"url": "https://user@/path?q=1#f"});
    let webhooks = [webhook("w.example.com", service), webhook("w.example.com", url)];
    let selector = "Required value: must be specified when `operator` is 'In' or 'NotIn'";
    let policy = "Unsupported value: \"Always\": supported values: \"IfNeeded\", \"Never\"";
    let twice = "Invalid value: \"v1\": duplicate version";
    let host = "Invalid value: \"\": host must be specified; desired format: https://host[/path]";
    let step = "Invalid value: \"/a//B\": segment[2]: a lowercase RFC 1123 subdomain must consist of lower case \
                alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
                'example.com', regex used for validation is \
                '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    refused(
        "MutatingWebhookConfiguration",
        json!({"metadata": {"name": "p"}, "webhooks": webhooks}),
        &[
            ("webhooks[0].namespaceSelector.matchExpressions[0].values", selector),
            ("webhooks[0].reinvocationPolicy", policy),
            (
                "webhooks[0].clientConfig.service.port",
                "Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive",
            ),
            (
                "webhooks[0].clientConfig.service.path",
                "Invalid value: \"/a//B\": segment[1] may not be empty",
            ),
            ("webhooks[0].clientConfig.service.path", step),
            ("webhooks[0].admissionReviewVersions[1]", twice),
            ("webhooks[1].namespaceSelector.matchExpressions[0].values", selector),
            ("webhooks[1].reinvocationPolicy", policy),
            ("webhooks[1].clientConfig.url", host),
            (
                "webhooks[1].clientConfig.url",
                "Invalid value: \"user\": user information is not permitted in the URL",
            ),
            (
                "webhooks[1].clientConfig.url",
                "Invalid value: \"f\": fragments are not permitted in the URL",
            ),
            (
                "webhooks[1].clientConfig.url",
                "Invalid value: \"q=1\": query parameters are not permitted in the URL",
            ),
            ("webhooks[1].admissionReviewVersions[1]", twice),
            ("webhooks[1].name", "Duplicate value: \"w.example.com\""),
        ],
    )
    .await;
}

//! Every list and every map of every kind that can be posted, filled with thousands: four times as many may cost about four
//! times as much of the processor, and never the host.
//!
//! The fields come from the `OpenAPI` document that the host serves. What is measured is the host's own processor time, not
//! how long an answer takes.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{Target, is_full};

/// How many items the smaller of two requests has; the larger one has four times as many.
const FEW: usize = 5_000;
/// A quick run looks at each so many-th field.
const EACH_QUICK: usize = 90;
/// A request may not be longer.
const BYTES_MAX: usize = 3 << 20;
/// What four times as many items may cost: so many times the ticks of the smaller one, and so many more. A loop in a loop
/// costs sixteen times as much.
const RATIO_MAX: u64 = 8;
const TICKS_SPARE: u64 = 20;
/// How deep fields are looked for.
const DEPTH_MAX: usize = 10;

/// A list or a map somewhere in a kind.
struct Field {
    collection: String,
    envelope: Value,
    /// Names of fields from the top, an empty one for the only item of a list.
    steps: Vec<String>,
    is_map: bool,
    item: Value,
}

/// The served document.
struct Document(Value);

impl Document {
    fn named<'a>(&'a self, schema: &'a Value) -> Option<(&'a str, &'a Value)> {
        let name = schema["$ref"].as_str()?.strip_prefix("#/definitions/")?;
        Some((name, &self.0["definitions"][name]))
    }

    /// The collections that take an object, with its schema.
    fn collections(&self) -> Vec<(String, &Value)> {
        let paths = self.0["paths"].as_object().expect("paths");
        let takes = paths.iter().filter_map(|(path, of)| {
            let path = path.replace("{namespace}", "default");
            let parameters = of["post"]["parameters"].as_array()?;
            let body = parameters.iter().find(|parameter| parameter["in"] == "body")?;
            (!path.contains('{')).then_some((path, &body["schema"]))
        });
        takes.collect()
    }

    fn fields(&self) -> Vec<Field> {
        let mut found = Vec::new();
        for (collection, schema) in self.collections() {
            let Some((name, of)) = self.named(schema) else { continue };
            let kind = &of["x-kubernetes-group-version-kind"][0];
            let text = |key: &str| kind[key].as_str().unwrap_or_default();
            let slash = if text("group").is_empty() { "" } else { "/" };
            let version = format!("{}{slash}{}", text("group"), text("version"));
            let envelope =
                json!({"apiVersion": version, "kind": text("kind"), "metadata": {"name": "x"}});
            let mut places = Vec::new();
            self.walk(schema, &mut vec![name], &mut Vec::new(), &mut places);
            // What is the same below is looked at in one place.
            let mut seen = BTreeSet::new();
            for (steps, is_map, item) in places {
                let end = steps[steps.len().saturating_sub(3)..].to_vec();
                let is_envelope = matches!(steps[0].as_str(), "metadata" | "status");
                if !is_envelope && seen.insert(end) {
                    let (collection, envelope) = (collection.clone(), envelope.clone());
                    found.push(Field { collection, envelope, steps, is_map, item: item.clone() });
                }
            }
        }
        found
    }

    fn walk<'a>(
        &'a self,
        schema: &'a Value,
        above: &mut Vec<&'a str>,
        steps: &mut Vec<String>,
        found: &mut Vec<(Vec<String>, bool, &'a Value)>,
    ) {
        let of = self.named(schema).map_or(schema, |(_, of)| of);
        for (field, of) in of["properties"].as_object().into_iter().flatten() {
            steps.push(field.clone());
            let (is_list, is_map) =
                (of["items"].is_object(), of["additionalProperties"].is_object());
            let below = if is_list { &of["items"] } else { of };
            if is_list || is_map {
                let item = if is_map { &of["additionalProperties"] } else { below };
                found.push((steps.clone(), is_map, item));
            }
            if let Some((name, _)) = self.named(below)
                && !above.contains(&name)
                && steps.len() < DEPTH_MAX
            {
                steps.extend(is_list.then(String::new));
                above.push(name);
                self.walk(below, above, steps, found);
                above.pop();
                if is_list {
                    steps.pop();
                }
            }
            steps.pop();
        }
    }

    /// The `n`th item: nothing in it but what tells it from others, or nothing at all.
    fn item(&self, schema: &Value, n: usize, is_empty: bool) -> Value {
        const NAMES: [&str; 8] =
            ["name", "key", "ip", "topologyKey", "mountPath", "devicePath", "path", "host"];
        let Some((_, of)) = self.named(schema) else { return scalar(schema, n) };
        if !of["properties"].is_object() {
            return scalar(of, n);
        }
        let mut item = Map::new();
        if !is_empty {
            for name in NAMES.iter().filter(|name| of["properties"][**name]["type"] == "string") {
                item.insert((*name).to_owned(), format!("a{n}").into());
            }
        }
        item.into()
    }

    fn body(&self, field: &Field, count: usize, is_empty: bool) -> Vec<u8> {
        let items = (0..count).map(|n| self.item(&field.item, n, is_empty));
        let filled = if field.is_map {
            Value::Object(items.enumerate().map(|(n, item)| (format!("a{n}"), item)).collect())
        } else {
            Value::Array(items.collect())
        };
        let wrap = |inner, step: &String| match step.as_str() {
            "" => json!([inner]),
            step => json!({step: inner}),
        };
        let whole = field.steps.iter().rev().fold(filled, wrap);
        let mut body = field.envelope.clone();
        for (key, value) in whole.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        body.to_string().into_bytes()
    }
}

fn scalar(schema: &Value, n: usize) -> Value {
    match schema["type"].as_str() {
        Some("integer" | "number") => n.into(),
        Some("boolean") => true.into(),
        Some("array") => json!(["a"]),
        Some("object") => json!({}),
        _ => format!("a{n}").into(),
    }
}

/// What a request made the host work, in ticks of the processor's clock (10 ms).
fn cost(target: &Target, field: &Field, body: &[u8]) -> u64 {
    let before = target.host.processor_ticks().expect("ticks");
    let path = format!("{}?dryRun=All", field.collection);
    let answer = target.admin.send("POST", &path, "application/json", body).expect("answered");
    assert!(answer.code < 500, "{path}: {}", answer.body);
    target.host.processor_ticks().expect("ticks") - before
}

#[test]
fn no_field_of_any_kind_costs_more_than_its_length() {
    let target = Target::start(&[]);
    let document = Document(target.admin.get("/openapi/v2").expect("answered").body);
    let fields = document.fields();
    assert!(fields.len() > 1_000, "only {} fields are found", fields.len());
    let each = if is_full() { 1 } else { EACH_QUICK };
    let (mut wrong, mut costs, mut requests) = (Vec::new(), Vec::new(), 0);
    for field in fields.iter().step_by(each) {
        for is_empty in [false, true] {
            let [small, large] = [FEW, 4 * FEW].map(|count| document.body(field, count, is_empty));
            if large.len() > BYTES_MAX {
                continue;
            }
            let [small, large] = [small, large].map(|body| cost(&target, field, &body));
            requests += 2;
            if requests % 500 == 0 {
                eprintln!(
                    "{requests} requests, {} of {} fields",
                    costs.len() / 2,
                    fields.len() / each
                );
            }
            let kind = field.envelope["kind"].as_str().unwrap_or_default();
            let what = format!("{kind} {} (empty: {is_empty})", field.steps.join("."));
            if large > RATIO_MAX * small + TICKS_SPARE {
                wrong.push(format!("{what}: {small} ticks, then {large}"));
            }
            costs.push((large, what));
        }
    }
    costs.sort_unstable();
    let most: Vec<String> =
        costs.iter().rev().take(3).map(|(ticks, what)| format!("{ticks} of {what}")).collect();
    eprintln!("{requests} requests; most ticks: {}", most.join(", "));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    target.assert_unharmed(512 << 20);
}

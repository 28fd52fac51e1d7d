//! Bodies, paths and selectors that cost more than they look, or are not what they say: each is told what is wrong, or
//! taken for what it is, and none is the server's fault.

use std::time::Instant;

use self::definitions::definitions;
use self::documents::documents;
use self::metadata::metadata;
use self::patches::patches;
use self::queries::{paths, queries};
use crate::{Target, is_full};

mod definitions;
mod documents;
mod metadata;
mod patches;
mod queries;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A request, and the codes that are right for it.
struct Case {
    name: String,
    method: &'static str,
    path: String,
    kind: &'static str,
    body: Vec<u8>,
    codes: &'static [u16],
}

/// So many of something, or a fifth in the short form.
fn many(count: usize) -> usize {
    if is_full() { count } else { count / 5 }
}

fn case(
    name: &str,
    (method, path): (&'static str, &str),
    (kind, body): (&'static str, impl Into<Vec<u8>>),
    codes: &'static [u16],
) -> Case {
    Case { name: name.to_owned(), method, path: path.to_owned(), kind, body: body.into(), codes }
}

fn config_map(data: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"generateName":"x-"}},"data":{data}}}"#
    )
}

fn ask(target: &Target, case: &Case) -> Result<(), String> {
    let begun = Instant::now();
    let answer = target.admin.send(case.method, &case.path, case.kind, &case.body);
    let answer = answer.map_err(|error| format!("{}: no answer: {error:#}", case.name))?;
    let took = begun.elapsed();
    if took.as_millis() >= 500 {
        eprintln!("{}: {took:.1?}", case.name);
    }
    let shown: String = answer.body.to_string().chars().take(300).collect();
    if !case.codes.contains(&answer.code) {
        return Err(format!(
            "{}: wanted {:?}, got {}: {shown}",
            case.name, case.codes, answer.code
        ));
    }
    let message = answer.body["message"].as_str().unwrap_or_default();
    let is_told = answer.body["kind"] == "Status" && message.len() > 5;
    // Where no resource is, a plain text says so.
    let is_plain = answer.code == 404 && answer.body.is_string();
    if answer.code >= 400 && !is_told && !is_plain {
        return Err(format!("{}: {} without a word: {shown}", case.name, answer.code));
    }
    if answer.body.to_string().len() > 1 << 20 && answer.code >= 400 {
        return Err(format!("{}: the refusal is larger than 1 MiB", case.name));
    }
    Ok(())
}

#[test]
fn bodies_paths_and_questions_that_are_bombs_or_nonsense_are_told_what_is_wrong() {
    let target = Target::start(&[]);
    let cases: Vec<Case> = [documents(), patches(), metadata(), queries(), paths(), definitions()]
        .into_iter()
        .flatten()
        .collect();
    let rounds = if is_full() { 20 } else { 1 };
    for _ in 0..rounds {
        let wrong: Vec<String> = cases.iter().filter_map(|case| ask(&target, case).err()).collect();
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
        for case in definitions() {
            drop(target.admin.delete(&format!(
                "{DEFINITIONS}/{}s.bomb.example",
                case.name.rsplit(' ').next().unwrap_or_default()
            )));
        }
    }
    eprintln!("{} requests, {rounds} times", cases.len());
    // Kubernetes' own answer to what a strategic patch or a create may not say is 500, and so it is here.
    target.assert_alive(512 << 20);
}

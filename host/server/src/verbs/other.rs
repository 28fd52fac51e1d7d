//! Paths that are no resources: health, version, discovery and `OpenAPI`.

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use quadrille_registry::Status;
use serde_json::json;

use crate::answer::{Answer, json_value, no_such_path, text};
use crate::app::App;
use crate::verbs::documents;

/// The Kubernetes version whose API is spoken.
const KUBERNETES: (&str, &str, &str) = ("1", "36", "v1.36.2");

/// Answers a path without its trailing slash.
pub(crate) fn answer(app: &App, parts: &Parts, path: &str) -> Result<Answer, Status> {
    match path {
        "/version" => Ok(version(app)),
        "/.well-known/openid-configuration" | "/openid/v1/jwks" => Ok(issuer(app, path)),
        "/metrics" => {
            let revision = app.registry.store().revision();
            let mut metrics = app.metrics.text(revision.0, app.fair.waiting());
            metrics.extend(app.insight.iter().map(|insight| insight.metrics()));
            Ok(text(StatusCode::OK, metrics))
        }
        "/healthz" | "/livez" | "/readyz" => Ok(health(app, parts, path)),
        _ => match check(app, path) {
            Some((_, true)) => Ok(text(StatusCode::OK, "ok")),
            Some((name, false)) => Ok(failed(name)),
            None => Ok(documents::document(app, parts, path)?.unwrap_or_else(no_such_path)),
        },
    }
}

fn version(app: &App) -> Answer {
    let (major, minor, kubernetes) = KUBERNETES;
    let value = json!({
        "major": major, "minor": minor,
        "gitVersion": format!("{kubernetes}+quadrille-{}", app.config.version),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    });
    json_value(StatusCode::OK, &value)
}

/// What others need to verify the tokens of service accounts.
fn issuer(app: &App, path: &str) -> Answer {
    let Some(accounts) = &app.authenticator.accounts else { return no_such_path() };
    let (content_type, value) = if path == "/openid/v1/jwks" {
        ("application/jwk-set+json", accounts.jwks())
    } else {
        let issuer = accounts.issuer();
        let value = json!({
            "issuer": issuer, "jwks_uri": format!("{}/openid/v1/jwks", issuer.trim_end_matches('/')),
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        ("application/json", value)
    };
    let mut answer = json_value(StatusCode::OK, &value);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    answer
}

fn failed(check: &str) -> Answer {
    text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {check} failed"))
}

/// The checks behind a summary, by the names that clients know, and whether they are passed: the store is `etcd`; to be
/// alive is to be able to read from it, and to be ready to be able to write to it and not about to leave.
fn checks(app: &App, summary: &str) -> Vec<(&'static str, bool)> {
    let stores = app.registry.store().takes_writes();
    let alive = [("ping", true), ("log", true)];
    if summary == "/readyz" {
        let leaving = app.shutdown.is_started();
        let ready = [("etcd-readiness", stores), ("informer-sync", true), ("shutdown", !leaving)];
        return alive.into_iter().chain(ready).collect();
    }
    // Whoever cannot write can still be read: a start anew would help nobody while its disk is full.
    let serves = if summary == "/livez" { app.registry.store().is_open() } else { stores };
    alive.into_iter().chain([("etcd", serves)]).collect()
}

/// One check: `/readyz/shutdown`.
fn check(app: &App, path: &str) -> Option<(&'static str, bool)> {
    let (summary, name) = path.rsplit_once('/')?;
    if !matches!(summary, "/healthz" | "/livez" | "/readyz") {
        return None;
    }
    checks(app, summary).into_iter().find(|(known, _)| *known == name)
}

/// The summary of the checks; `?verbose` lists them, `?exclude=NAME` leaves one out.
fn health(app: &App, parts: &Parts, path: &str) -> Answer {
    let query = parts.uri.query().unwrap_or_default();
    let excluded = |name: &str| {
        query.split('&').any(|pair| pair.strip_prefix("exclude=").is_some_and(|of| of == name))
    };
    let checks = checks(app, path);
    let good = checks.iter().all(|(name, good)| *good || excluded(name));
    let verbose = query.split('&').any(|pair| pair == "verbose" || pair.starts_with("verbose="));
    if good && !verbose {
        return text(StatusCode::OK, "ok");
    }
    let line = |(name, good): &(&str, bool)| match (excluded(name), good) {
        (true, _) => format!("[+]{name} excluded: ok\n"),
        (false, true) => format!("[+]{name} ok\n"),
        (false, false) => format!("[-]{name} failed: reason withheld\n"),
    };
    let lines: Vec<String> = checks.iter().map(line).collect();
    let check = path.trim_start_matches('/');
    let (code, verdict) = if good {
        (StatusCode::OK, "passed")
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, "failed")
    };
    text(code, format!("{}{check} check {verdict}\n", lines.concat()))
}

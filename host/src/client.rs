//! The command line's HTTP client: one server, one identity, JSON in and out, streams line by line.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, http};

use crate::kubeconfig::Kubeconfig;

/// How long the server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read whole: a LIST of some hundred thousand objects.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// A client of one server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    config: Kubeconfig,
}

/// A refusal of the server: the `Status` it sent.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    /// The HTTP status code.
    pub(crate) code: u16,
    /// For people.
    pub(crate) message: String,
}

/// A request's body and its type.
pub(crate) struct Payload<'a> {
    /// `application/json`, `application/apply-patch+yaml`, `application/wasm`, …
    pub(crate) content_type: &'a str,
    /// The bytes.
    pub(crate) bytes: &'a [u8],
}

impl Client {
    /// Builds a client; connects to nothing yet.
    pub(crate) fn build(config: Kubeconfig) -> anyhow::Result<Self> {
        let mut tls = TlsConfig::builder().disable_verification(config.insecure);
        if let Some(ca) = &config.ca {
            let certificates = parse_pem(ca).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            tls = tls.root_certs(RootCerts::Specific(Arc::new(certificates.collect())));
        }
        if let Some((certificate, key)) = &config.identity {
            let certificate =
                Certificate::from_pem(certificate).context("bad client certificate")?;
            let key = PrivateKey::from_pem(key).context("bad client key")?;
            let identity = ClientCert::new_with_certs(&[certificate.to_owned()], key);
            tls = tls.client_cert(Some(identity));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("quadrille/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build()
            .new_agent();
        Ok(Self { agent, config })
    }

    /// The server's URL.
    pub(crate) fn server(&self) -> &str {
        &self.config.server
    }

    /// The namespace to use where none is named.
    pub(crate) fn namespace(&self) -> &str {
        self.config.namespace.as_deref().unwrap_or("default")
    }

    /// Sends a request and decodes the JSON answer; a `Status` of failure is an error.
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        payload: Option<Payload<'_>>,
    ) -> anyhow::Result<Value> {
        self.call_as(method, path, payload, "application/json")
    }

    /// The same, asking for another form of the answer (such as a Table).
    pub(crate) fn call_as(
        &self,
        method: &str,
        path: &str,
        payload: Option<Payload<'_>>,
        accept: &str,
    ) -> anyhow::Result<Value> {
        let mut response = self.send(method, path, payload, accept)?;
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let text = text.with_context(|| format!("{method} {path}: the answer broke off"))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{method} {path}: the answer is not JSON"))
    }

    /// GET of a JSON document.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call("GET", path, None)
    }

    /// GET of plain text, line by line as it comes.
    pub(crate) fn lines(
        &self,
        path: &str,
    ) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>> + use<>> {
        let response =
            self.send("GET", path, None, "application/x-ndjson, text/plain, application/json")?;
        Ok(BufReader::new(response.into_body().into_reader()).lines())
    }

    /// GET of a file, as it comes.
    pub(crate) fn file(&self, path: &str) -> anyhow::Result<impl Read + use<>> {
        let response =
            self.send("GET", path, None, "application/octet-stream, application/json")?;
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// The answer to a POST, a JSON document per line as they come.
    pub(crate) fn post_lines(
        &self,
        path: &str,
        payload: Payload<'_>,
    ) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>> + use<>> {
        let accept = "application/x-ndjson, application/json";
        let response = self.send("POST", path, Some(payload), accept)?;
        Ok(BufReader::new(response.into_body().into_reader()).lines())
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        payload: Option<Payload<'_>>,
        accept: &str,
    ) -> anyhow::Result<http::Response<Body>> {
        let url = format!("{}{path}", self.config.server);
        let mut request =
            http::Request::builder().method(method).uri(&url).header("Accept", accept);
        if let Some(token) = &self.config.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let outcome = match payload {
            None => self.agent.run(request.body(()).context("cannot form the request")?),
            Some(payload) => {
                let request = request.header("Content-Type", payload.content_type);
                self.agent.run(request.body(payload.bytes).context("cannot form the request")?)
            }
        };
        let response = outcome.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response)) }
    }

    fn unreachable(&self, error: &ureq::Error) -> anyhow::Error {
        anyhow!(
            "cannot reach the host at {}: {error}\nstart one with `quadrille serve`, or name another \
             with --kubeconfig",
            self.config.server
        )
    }
}

/// Reads the `Status` of a refusal.
fn refusal(mut response: http::Response<Body>) -> anyhow::Error {
    let code = response.status().as_u16();
    let mut text = String::new();
    let read = response.body_mut().as_reader().take(1 << 20).read_to_string(&mut text);
    if let Err(error) = read {
        return anyhow!("the server answered {code} and broke off: {error}");
    }
    let status: Option<Value> = serde_json::from_str(&text).ok();
    let message = status.as_ref().and_then(|s| s.get("message")).and_then(Value::as_str);
    let message = message.map_or_else(|| format!("{code} {}", text.trim()), str::to_owned);
    anyhow::Error::new(Refused { code, message })
}

/// A resource as discovery names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The group; empty for the core group.
    pub(crate) group: String,
    /// The preferred version.
    pub(crate) version: String,
    /// The plural name.
    pub(crate) resource: String,
    /// The kind.
    pub(crate) kind: String,
    /// Whether its objects live in namespaces.
    pub(crate) namespaced: bool,
}

impl Endpoint {
    /// The path of the resource, or of one object in it.
    pub(crate) fn path(&self, namespace: &str, name: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        let inside = if self.namespaced && !namespace.is_empty() {
            format!("/namespaces/{namespace}")
        } else {
            String::new()
        };
        let name = name.map(|name| format!("/{name}")).unwrap_or_default();
        format!("{root}{inside}/{}{name}", self.resource)
    }
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Everything that the server serves, preferred versions first.
pub(crate) fn discover(client: &Client) -> anyhow::Result<Vec<Endpoint>> {
    let mut found = Vec::new();
    for path in ["/api", "/apis"] {
        let list = client.call_as("GET", path, None, AGGREGATED)?;
        for group in list.get("items").and_then(Value::as_array).into_iter().flatten() {
            endpoints_of(group, &mut found);
        }
    }
    if found.is_empty() {
        bail!("the server at {} serves no resources", client.server());
    }
    Ok(found)
}

fn endpoints_of(group: &Value, found: &mut Vec<Endpoint>) {
    let text = |value: &Value, path: &str| {
        value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let name = text(group, "/metadata/name");
    for version in group.get("versions").and_then(Value::as_array).into_iter().flatten() {
        for resource in version.get("resources").and_then(Value::as_array).into_iter().flatten() {
            found.push(Endpoint {
                group: name.clone(),
                version: text(version, "/version"),
                resource: text(resource, "/resource"),
                kind: text(resource, "/responseKind/kind"),
                namespaced: text(resource, "/scope") == "Namespaced",
            });
        }
    }
}

/// Finds the resource that people mean by `deploy`, `deployments`, `Deployment` or `deployments.apps`.
pub(crate) fn resolve(client: &Client, word: &str) -> anyhow::Result<Endpoint> {
    let lower = word.to_lowercase();
    let mut by_short = None;
    for path in ["/api", "/apis"] {
        let list = client.call_as("GET", path, None, AGGREGATED)?;
        for group in list.get("items").and_then(Value::as_array).into_iter().flatten() {
            let mut endpoints = Vec::new();
            endpoints_of(group, &mut endpoints);
            let full = |e: &Endpoint| format!("{}.{}", e.resource, e.group);
            let named = |e: &&Endpoint| {
                e.resource == lower || e.kind.to_lowercase() == lower || full(e) == lower
            };
            if let Some(endpoint) = endpoints.iter().find(named) {
                return Ok(endpoint.clone());
            }
            by_short = by_short.or_else(|| short_name(group, &lower, &endpoints));
        }
    }
    by_short.with_context(|| format!("the server has no resource \"{word}\""))
}

fn short_name(group: &Value, word: &str, endpoints: &[Endpoint]) -> Option<Endpoint> {
    let versions = group.get("versions")?.as_array()?.iter();
    let resources = versions.filter_map(|v| v.get("resources")?.as_array()).flatten();
    let matching = resources.filter(|r| {
        let names = r.get("shortNames").and_then(Value::as_array).into_iter().flatten();
        names.filter_map(Value::as_str).any(|name| name == word)
    });
    let mut matching = matching;
    let plural = matching.find_map(|r| r.get("resource")?.as_str())?;
    endpoints.iter().find(|e| e.resource == plural).cloned()
}

//! How a webhook is reached: by a URL, or behind a Service, of whose endpoints one is addressed.
//!
//! A cluster IP leads nowhere without somebody who forwards it; therefore the endpoints themselves are asked for, as
//! kube-apiserver does when it is told to.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quadrille_object::GroupResource;
use quadrille_store::{Key, Object as Stored, Query, Range, Selection, View};
use serde_json::Value;

use crate::field::{self, Object};
use crate::webhooks::WebhookEndpoint;
use crate::write::parse;

const PORT_DEFAULT: u16 = 443;
const SLICES_MAX: usize = 100;

/// A `clientConfig`.
#[derive(Debug)]
pub(crate) struct Client {
    at: At,
    ca_bundle: Arc<[u8]>,
    timeout_seconds: u64,
}

#[derive(Debug)]
enum At {
    Url(Box<str>),
    Service(Reference),
}

impl Client {
    pub(crate) fn parse(of: &Value, timeout_seconds: u64) -> Self {
        let bundle = of.get("caBundle").and_then(Value::as_str).unwrap_or_default();
        let at = match of.get("url").and_then(Value::as_str) {
            Some(url) => At::Url(url.into()),
            None => At::Service(Reference::parse(of.get("service"))),
        };
        let ca_bundle = STANDARD.decode(bundle).unwrap_or_default().into();
        Self { at, ca_bundle, timeout_seconds }
    }

    /// Where to post.
    ///
    /// # Errors
    /// When nobody is behind the Service.
    pub(crate) fn endpoint(&self, view: &dyn View) -> Result<WebhookEndpoint, String> {
        let seconds = self.timeout_seconds;
        let (url, connect) = match &self.at {
            At::Url(url) => (url.to_string(), None),
            At::Service(reference) => (reference.url(), Some(reference.resolve(view)?)),
        };
        let mark = if url.contains('?') { '&' } else { '?' };
        Ok(WebhookEndpoint {
            url: format!("{url}{mark}timeout={seconds}s"),
            connect,
            ca_bundle: Arc::clone(&self.ca_bundle),
            timeout: Duration::from_secs(seconds),
        })
    }
}

/// A reference to a Service.
#[derive(Debug)]
struct Reference {
    namespace: Box<str>,
    name: Box<str>,
    path: Box<str>,
    port: u16,
}

impl Reference {
    fn parse(of: Option<&Value>) -> Self {
        let text = |key: &str| of.and_then(|v| v.get(key)).and_then(Value::as_str);
        let port = of.and_then(|v| v.get("port")).and_then(Value::as_u64);
        Self {
            namespace: text("namespace").unwrap_or_default().into(),
            name: text("name").unwrap_or_default().into(),
            path: text("path").unwrap_or_default().into(),
            port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT_DEFAULT),
        }
    }

    /// The URL, whose host is what the webhook's certificate must be for.
    fn url(&self) -> String {
        let Self { namespace, name, path, port } = self;
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("https://{name}.{namespace}.svc:{port}{slash}{path}")
    }

    /// Where to connect.
    ///
    /// # Errors
    /// When there is no such Service, port or endpoint.
    fn resolve(&self, view: &dyn View) -> Result<(String, u16), String> {
        let name = &*self.name;
        let key = Key::new(GroupResource::new("", "services"), &*self.namespace, name);
        let service = view.get(&key).ok_or_else(|| format!("service \"{name}\" not found"))?;
        let service = read(&service)?;
        let ports = field::list(&service, &["spec", "ports"]).iter();
        let port =
            ports.filter(|p| p.get("port").and_then(Value::as_u64) == Some(self.port.into()));
        let Some(port) = port.take(1).next() else {
            let port = self.port;
            return Err(format!("no service port {port} found for service \"{name}\""));
        };
        if field::text(&service, &["spec", "type"]) == Some("ExternalName") {
            let host = field::text(&service, &["spec", "externalName"]).unwrap_or_default();
            return Ok((host.to_owned(), self.port));
        }
        let port = port.get("name").and_then(Value::as_str).unwrap_or_default();
        self.slice_address(port, view)
            .or_else(|| self.endpoint_address(port, view))
            .ok_or_else(|| format!("no endpoints available for service \"{name}\""))
    }

    fn slice_address(&self, port: &str, view: &dyn View) -> Option<(String, u16)> {
        let range = Range {
            resource: GroupResource::new("discovery.k8s.io", "endpointslices"),
            namespace: Some((&*self.namespace).into()),
            selection: Selection::All,
        };
        let slices = view.list(&Query { limit: Some(SLICES_MAX), ..Query::whole(range) });
        let mine = |slice: &&Arc<Stored>| {
            slice.meta.label("kubernetes.io/service-name") == Some(&self.name)
        };
        slices.iter().filter(mine).find_map(|slice| {
            let slice = read(slice).ok()?;
            let number = port_number(field::list(&slice, &["ports"]), port)?;
            let ready = |endpoint: &&Value| {
                endpoint.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false)
            };
            let mut endpoints = field::list(&slice, &["endpoints"]).iter().filter(ready);
            let address =
                endpoints.find_map(|e| e.pointer("/addresses/0").and_then(Value::as_str))?;
            Some((address.to_owned(), number))
        })
    }

    fn endpoint_address(&self, port: &str, view: &dyn View) -> Option<(String, u16)> {
        let key = Key::new(GroupResource::new("", "endpoints"), &*self.namespace, &*self.name);
        let endpoints = read(&*view.get(&key)?).ok()?;
        field::list(&endpoints, &["subsets"]).iter().find_map(|subset| {
            let ports = subset.get("ports").and_then(Value::as_array)?;
            let number = port_number(ports, port)?;
            let address = subset.pointer("/addresses/0/ip").and_then(Value::as_str)?;
            Some((address.to_owned(), number))
        })
    }
}

fn read(object: &Stored) -> Result<Object, String> {
    parse(object).map_err(|status| status.message)
}

fn port_number(ports: &[Value], name: &str) -> Option<u16> {
    let named =
        |port: &&Value| port.get("name").and_then(Value::as_str).unwrap_or_default() == name;
    let number = ports.iter().find(named)?.get("port").and_then(Value::as_u64)?;
    u16::try_from(number).ok()
}

//! The kubeconfig that kubectl reads: which server, which CA, which credentials.
//!
//! Found as kubectl finds it: `--kubeconfig`, then `$KUBECONFIG` (the first file that exists), then the
//! data directory of a host started here, then `~/.kube/config`.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use base64::Engine as _;
use serde_json::Value;

/// What a client needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kubeconfig {
    /// The server's URL, without a slash at the end.
    pub(crate) server: String,
    /// The CA in PEM; `None` trusts nothing but what the system trusts.
    pub(crate) ca: Option<Vec<u8>>,
    /// The bearer token.
    pub(crate) token: Option<String>,
    /// Client certificate and key in PEM.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Whether the server's certificate is not verified.
    pub(crate) insecure: bool,
    /// The context's namespace.
    pub(crate) namespace: Option<String>,
}

/// Where the file is.
pub(crate) fn find(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
    let local = ["quadrille-data/kubeconfig", ".quadrille/kubeconfig"].map(PathBuf::from);
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&listed).collect();
    candidates.extend(local);
    candidates.extend(home);
    candidates.into_iter().find(|path| path.is_file()).context(
        "no kubeconfig found: start a host with `quadrille serve`, or name one with --kubeconfig",
    )
}

/// Reads a kubeconfig file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Kubeconfig> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read kubeconfig {}", path.display()))?;
    let decoded = quadrille_object::decode::yaml(text.as_bytes())
        .map_err(|error| anyhow!("kubeconfig {} is not YAML: {error}", path.display()))?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    parse(&decoded.value, folder)
        .with_context(|| format!("cannot use kubeconfig {}", path.display()))
}

fn parse(config: &Value, folder: &Path) -> anyhow::Result<Kubeconfig> {
    let current = config.get("current-context").and_then(Value::as_str).unwrap_or_default();
    let context = named(config, "contexts", current, "context")?;
    let text =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let cluster_name = text(&context, "cluster").context("the context names no cluster")?;
    let cluster = named(config, "clusters", &cluster_name, "cluster")?;
    let user = match text(&context, "user") {
        Some(name) if !name.is_empty() => named(config, "users", &name, "user")?,
        _ => Value::Null,
    };
    if user.get("exec").is_some() || user.get("auth-provider").is_some() {
        bail!("credentials from a plug-in are not supported here: use a token or a certificate");
    }
    let token = match text(&user, "token") {
        Some(token) => Some(token),
        None => text(&user, "tokenFile").map(|file| read_text(folder, &file)).transpose()?,
    };
    let certificate = pem(&user, "client-certificate", folder)?;
    let key = pem(&user, "client-key", folder)?;
    Ok(Kubeconfig {
        server: text(&cluster, "server")
            .context("the cluster has no server")?
            .trim_end_matches('/')
            .into(),
        ca: pem(&cluster, "certificate-authority", folder)?,
        token,
        identity: certificate.zip(key),
        insecure: cluster.get("insecure-skip-tls-verify").and_then(Value::as_bool).unwrap_or(false),
        namespace: text(&context, "namespace"),
    })
}

fn named(config: &Value, list: &str, name: &str, field: &str) -> anyhow::Result<Value> {
    let entries = config.get(list).and_then(Value::as_array);
    let entry =
        entries.into_iter().flatten().find(|e| e.get("name").and_then(Value::as_str) == Some(name));
    let found = entry.and_then(|entry| entry.get(field)).cloned();
    found.with_context(|| format!("no {field} \"{name}\" in {list}"))
}

fn read_text(folder: &Path, file: &str) -> anyhow::Result<String> {
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// `FIELD-data` in base64, or the file that `FIELD` names.
fn pem(entry: &Value, field: &str, folder: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    if let Some(data) = entry.get(format!("{field}-data")).and_then(Value::as_str) {
        let bytes = base64::engine::general_purpose::STANDARD.decode(data.trim());
        return bytes.map(Some).with_context(|| format!("{field}-data is not base64"));
    }
    let Some(file) = entry.get(field).and_then(Value::as_str) else { return Ok(None) };
    let path = folder.join(file);
    std::fs::read(&path).map(Some).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_current_context_decides() {
        let config = json!({
            "current-context": "b",
            "contexts": [
                {"name": "a", "context": {"cluster": "x", "user": "u"}},
                {"name": "b", "context": {"cluster": "y", "user": "u", "namespace": "n"}},
            ],
            "clusters": [
                {"name": "x", "cluster": {"server": "https://x"}},
                {"name": "y", "cluster": {"server": "https://y/", "certificate-authority-data": "Q0E="}},
            ],
            "users": [{"name": "u", "user": {"token": "t"}}],
        });
        let parsed = parse(&config, Path::new(".")).expect("a complete file");
        assert_eq!(parsed.server, "https://y");
        assert_eq!(parsed.ca.as_deref(), Some(&b"CA"[..]));
        assert_eq!((parsed.token.as_deref(), parsed.namespace.as_deref()), (Some("t"), Some("n")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let config = json!({"current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "x"}}]});
        let error = parse(&config, Path::new(".")).expect_err("no cluster");
        assert_eq!(error.to_string(), "no cluster \"x\" in clusters");
    }
}

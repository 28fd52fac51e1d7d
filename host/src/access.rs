//! The parts of the server that know clients and log them, from the configuration and the files that it names.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use quadrille_kit::Clock;
use quadrille_server::{AccountTokens, AuditConfig, Oidc, OidcConfig, Parts, Policy};

use crate::config::Config;
use crate::files::Files;

/// Where systems keep the certificates of the authorities that they trust.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Fills in who is known and what is logged; `authority` is the host's own.
pub(crate) fn equip(
    parts: &mut Parts,
    config: &Config,
    files: &Files,
    authority: &str,
) -> anyhow::Result<()> {
    let clients = &config.clients;
    let key = files.account_key()?;
    let tokens = AccountTokens::new(&key, &clients.service_account_issuer, &clients.api_audiences);
    parts.accounts = Some(Arc::new(tokens.context("cannot use the service account key")?));
    let authorities = match &clients.ca_file {
        Some(path) => text(path)?,
        None => authority.to_owned(),
    };
    parts.client_authorities = Some(authorities);
    parts.oidc = oidc(config, &parts.clock)?;
    parts.audit = audit(config)?;
    Ok(())
}

fn oidc(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Option<Arc<Oidc>>> {
    let from = &config.oidc;
    if from.issuer_url.is_empty() {
        return Ok(None);
    }
    let authorities = match &from.ca_file {
        Some(path) => text(path)?,
        None => system_authorities()?,
    };
    let config = OidcConfig {
        issuer: from.issuer_url.clone(),
        client_id: from.client_id.clone(),
        username_claim: from.username_claim.clone(),
        username_prefix: match from.username_prefix.as_str() {
            "" => None,
            "-" => Some(String::new()),
            prefix => Some(prefix.to_owned()),
        },
        groups_claim: from.groups_claim.clone(),
        groups_prefix: from.groups_prefix.clone(),
        required_claims: from.required_claims.clone(),
        authorities,
    };
    let oidc = Oidc::build(config, Arc::clone(clock)).context("cannot use the token issuer")?;
    Ok(Some(Arc::new(oidc)))
}

fn system_authorities() -> anyhow::Result<String> {
    let found = SYSTEM_AUTHORITIES.into_iter().map(Path::new).find(|path| path.exists());
    let missing = || anyhow!("this system has no list of authorities: set oidc.ca_file");
    text(found.ok_or_else(missing)?)
}

fn audit(config: &Config) -> anyhow::Result<Option<AuditConfig>> {
    let from = &config.audit;
    let (Some(path), Some(policy)) = (&from.log_path, &from.policy_file) else { return Ok(None) };
    let policy = Policy::parse(&text(policy)?)
        .with_context(|| format!("cannot use audit policy {}", policy.display()))?;
    let (bytes_max, files_max) = (from.bytes_max.0.0, from.files_max);
    Ok(Some(AuditConfig { path: path.clone(), policy, bytes_max, files_max }))
}

fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

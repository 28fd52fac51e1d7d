//! The flags of `serve` that are about clients: who they are, and what is logged of them.

use std::path::PathBuf;

use crate::config::{Bytes, Config, Text};

/// Who is known, and what is logged; the names are those of kube-apiserver's flags.
#[derive(Debug, clap::Args)]
pub(super) struct AccessArgs {
    /// The authorities of client certificates, as PEM; the host's own without it.
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// Who signs the tokens of service accounts.
    #[arg(long, value_name = "URL")]
    service_account_issuer: Option<String>,
    /// Whom tokens of service accounts may be meant for; the issuer alone without it.
    #[arg(long, value_name = "AUDIENCE", value_delimiter = ',')]
    api_audiences: Vec<String>,
    /// The issuer whose ID tokens are believed.
    #[arg(long, value_name = "URL")]
    oidc_issuer_url: Option<String>,
    /// Whom ID tokens must be meant for.
    #[arg(long, value_name = "ID")]
    oidc_client_id: Option<String>,
    /// The claim with the user's name; `sub` without it.
    #[arg(long, value_name = "CLAIM")]
    oidc_username_claim: Option<String>,
    /// What is put before names; `-` for nothing.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    oidc_username_prefix: Option<String>,
    /// The claim with the groups.
    #[arg(long, value_name = "CLAIM")]
    oidc_groups_claim: Option<String>,
    /// What is put before groups.
    #[arg(long, value_name = "TEXT")]
    oidc_groups_prefix: Option<String>,
    /// A claim that must be there with a value; may be repeated.
    #[arg(long, value_name = "CLAIM=VALUE", value_parser = pair)]
    oidc_required_claim: Vec<(String, String)>,
    /// The authorities of the issuer's certificate, as PEM; the system's without it.
    #[arg(long, value_name = "FILE")]
    oidc_ca_file: Option<PathBuf>,
    /// The audit log; one JSON object a line.
    #[arg(long, value_name = "FILE")]
    audit_log_path: Option<PathBuf>,
    /// What is logged: a Policy of audit.k8s.io/v1.
    #[arg(long, value_name = "FILE")]
    audit_policy_file: Option<PathBuf>,
    /// The size at which a new file is begun.
    #[arg(long, value_name = "SIZE")]
    audit_log_max_size: Option<Text<Bytes>>,
    /// How many old files are kept.
    #[arg(long, value_name = "NUMBER")]
    audit_log_max_backups: Option<usize>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (claim, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no `=`"))?;
    Ok((claim.to_owned(), value.to_owned()))
}

impl AccessArgs {
    /// Puts what was given in the place of what the configuration says.
    pub(super) fn apply(&self, config: &mut Config) {
        let put = |from: &Option<String>, to: &mut String| {
            if let Some(text) = from {
                to.clone_from(text);
            }
        };
        let put_path = |from: &Option<PathBuf>, to: &mut Option<PathBuf>| {
            if from.is_some() {
                to.clone_from(from);
            }
        };
        let (clients, oidc, audit) = (&mut config.clients, &mut config.oidc, &mut config.audit);
        put_path(&self.client_ca_file, &mut clients.ca_file);
        put(&self.service_account_issuer, &mut clients.service_account_issuer);
        if !self.api_audiences.is_empty() {
            clients.api_audiences.clone_from(&self.api_audiences);
        }
        put(&self.oidc_issuer_url, &mut oidc.issuer_url);
        put(&self.oidc_client_id, &mut oidc.client_id);
        put(&self.oidc_username_claim, &mut oidc.username_claim);
        put(&self.oidc_username_prefix, &mut oidc.username_prefix);
        put(&self.oidc_groups_claim, &mut oidc.groups_claim);
        put(&self.oidc_groups_prefix, &mut oidc.groups_prefix);
        oidc.required_claims.extend(self.oidc_required_claim.iter().cloned());
        put_path(&self.oidc_ca_file, &mut oidc.ca_file);
        put_path(&self.audit_log_path, &mut audit.log_path);
        put_path(&self.audit_policy_file, &mut audit.policy_file);
        audit.bytes_max = self.audit_log_max_size.unwrap_or(audit.bytes_max);
        audit.files_max = self.audit_log_max_backups.unwrap_or(audit.files_max);
    }
}

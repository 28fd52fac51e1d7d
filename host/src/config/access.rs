//! Who is known, what is logged of them: the part of the configuration that is about clients.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Bytes, Text};

/// How clients prove who they are, beside the token file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Clients {
    /// The authorities of client certificates, as PEM; default the host's own authority. The common name is the
    /// user, organizations are groups.
    pub(crate) ca_file: Option<PathBuf>,
    /// Who signs the tokens of service accounts; default Kubernetes' own name for it. Others that verify the tokens
    /// look for the keys below it. Changing it invalidates the tokens that are out.
    pub(crate) service_account_issuer: String,
    /// Whom tokens of service accounts may be meant for; default the issuer alone.
    pub(crate) api_audiences: Vec<String>,
}

/// Whose foreign tokens are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Oidc {
    /// The issuer's URL, `https` and as its tokens have it; nobody's are believed while it is empty.
    pub(crate) issuer_url: String,
    /// Whom the tokens must be meant for.
    pub(crate) client_id: String,
    /// The claim with the user's name; default `sub`.
    pub(crate) username_claim: String,
    /// What is put before names; default the issuer and `#`, nothing for the claim `email`. `-` for nothing.
    pub(crate) username_prefix: String,
    /// The claim with the groups; default none.
    pub(crate) groups_claim: String,
    /// What is put before groups; default nothing.
    pub(crate) groups_prefix: String,
    /// Claims that must be there with a value.
    pub(crate) required_claims: BTreeMap<String, String>,
    /// The authorities of the issuer's certificate, as PEM; default the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

/// How the audit log is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Audit {
    /// The file; there is no log without it. Takes `policy_file`, too.
    pub(crate) log_path: Option<PathBuf>,
    /// What is logged: a Policy of `audit.k8s.io/v1`.
    pub(crate) policy_file: Option<PathBuf>,
    /// The size at which a new file is begun; default `"100MiB"`.
    pub(crate) bytes_max: Text<Bytes>,
    /// How many old files are kept; default 10.
    pub(crate) files_max: usize,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            ca_file: None,
            service_account_issuer: quadrille_server::accounts::ISSUER.to_owned(),
            api_audiences: Vec::new(),
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        let bytes_max = Text(Bytes(100 << 20));
        Self { log_path: None, policy_file: None, bytes_max, files_max: 10 }
    }
}

impl Clients {
    /// What is wrong.
    pub(super) fn problems(&self, problems: &mut Vec<String>) {
        if self.service_account_issuer.is_empty() {
            problems.push("clients.service_account_issuer is empty".to_owned());
        }
    }
}

impl Oidc {
    /// What is wrong.
    pub(super) fn problems(&self, problems: &mut Vec<String>) {
        if self.issuer_url.is_empty() {
            if *self != Self::default() {
                problems.push("oidc has settings and no issuer_url".to_owned());
            }
            return;
        }
        if !self.issuer_url.starts_with("https://") {
            problems.push(format!("oidc.issuer_url = {:?} is no https URL", self.issuer_url));
        }
        if self.client_id.is_empty() {
            problems.push("oidc.client_id is missing: tokens for others would be believed".into());
        }
    }
}

impl Audit {
    /// What is wrong.
    pub(super) fn problems(&self, problems: &mut Vec<String>) {
        if self.log_path.is_some() != self.policy_file.is_some() {
            problems.push("audit.log_path and audit.policy_file go together".to_owned());
        }
        if self.bytes_max.0.0 < 1 << 16 {
            problems.push("audit.bytes_max is below 64KiB".to_owned());
        }
    }
}

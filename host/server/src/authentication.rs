//! Who asks: client certificates and bearer tokens, and the users they stand for.
//!
//! Tokens are asked of those who may know them in turn: the host's own file, the accounts' issuer, a foreign issuer.
//! Those of the file are looked up by their SHA-256, so that neither memory nor timing tells them apart byte by byte.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use quadrille_kit::Clock;
use quadrille_registry::{Registry, User};
use sha2::{Digest as _, Sha256};

use crate::accounts::AccountTokens;
use crate::certificate::Certified;
use crate::oidc::{LacksKey, Oidc};

/// A token file with a bad line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("token file line {line}: {detail}")]
pub struct TokenFileError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub detail: String,
}

/// The tokens that are known.
#[derive(Clone, Debug)]
pub struct Tokens {
    users: HashMap<[u8; 32], Arc<User>>,
    anonymous: Arc<User>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { users: HashMap::new(), anonymous: Arc::new(User::anonymous()) }
    }
}

impl Tokens {
    /// Makes a token stand for a user.
    pub fn insert(&mut self, token: &str, user: User) {
        self.users.insert(Sha256::digest(token).into(), Arc::new(user));
    }

    /// Adds the lines of a Kubernetes token file: `token,user,uid,"group1,group2"`.
    ///
    /// # Errors
    /// When a line has fewer than three fields or an open quote; nothing is added then.
    pub fn insert_file(&mut self, text: &str) -> Result<(), TokenFileError> {
        let mut found = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let bad = |detail: &str| TokenFileError { line: at + 1, detail: detail.to_owned() };
            let fields = csv_fields(line).ok_or_else(|| bad("a quote is not closed"))?;
            let [token, name, uid, rest @ ..] = fields.as_slice() else {
                return Err(bad("at least token, user and uid are needed"));
            };
            if token.is_empty() || name.is_empty() {
                return Err(bad("token and user must not be empty"));
            }
            let groups = rest.first().map_or("", String::as_str);
            let groups: Vec<&str> =
                groups.split(',').map(str::trim).filter(|g| !g.is_empty()).collect();
            found.push((token.clone(), User::known(name, uid, &groups)));
        }
        for (token, user) in found {
            self.insert(&token, user);
        }
        Ok(())
    }

    /// Whose a token is.
    fn user_of(&self, token: &[u8]) -> Option<&Arc<User>> {
        self.users.get(&digest(token))
    }
}

/// Everybody who may know who somebody is.
#[derive(Debug)]
pub(crate) struct Authenticator {
    pub(crate) tokens: Tokens,
    pub(crate) accounts: Option<Arc<AccountTokens>>,
    pub(crate) oidc: Option<Arc<Oidc>>,
    pub(crate) registry: Registry,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What a `TokenReview` finds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reviewed {
    /// Whose the token is, and for which of the audiences in question.
    pub(crate) user: Option<(Arc<User>, Vec<String>)>,
}

impl Authenticator {
    /// The user of a request where that is known at once; `None` where it takes more, or is nobody.
    pub(crate) fn at_once(
        &self,
        headers: &HeaderMap,
        certified: Option<&Certified>,
    ) -> Option<Arc<User>> {
        if let Some(user) = certified.and_then(|shown| shown.user(self.clock.now())) {
            return Some(Arc::clone(user));
        }
        let Some(token) = bearer(headers) else {
            // Who has shown a certificate that counts no longer is told so, and is not taken for nobody.
            return certified.is_none().then(|| Arc::clone(&self.tokens.anonymous));
        };
        let digest = digest(token);
        if let Some(user) = self.tokens.users.get(&digest) {
            return Some(Arc::clone(user));
        }
        let account = self
            .accounts
            .as_ref()
            .and_then(|accounts| accounts.seen(&digest, &self.registry, self.clock.now()));
        account.or_else(|| self.oidc.as_ref()?.seen(&digest))
    }

    /// The user of a request whose user is not known at once; `None` when nobody knows its token.
    ///
    /// # Errors
    /// When that takes keys of the foreign issuer that are not known yet.
    pub(crate) fn look(&self, headers: &HeaderMap) -> Result<Option<Arc<User>>, LacksKey> {
        let token = bearer(headers).and_then(|token| std::str::from_utf8(token).ok());
        let Some(token) = token else { return Ok(None) };
        Ok(self.look_at(token, self.audiences())?.user.map(|(user, _)| user))
    }

    /// Asks the foreign issuer for its keys, unless somebody has just done so; true when there may be new ones.
    pub(crate) async fn renew_keys(&self) -> bool {
        match &self.oidc {
            Some(oidc) => oidc.renew().await,
            None => false,
        }
    }

    /// The audiences of this API.
    pub(crate) fn audiences(&self) -> &[String] {
        self.accounts.as_ref().map_or(&[], |accounts| accounts.audiences())
    }

    /// Whose a token is, given whom it may be meant for.
    pub(crate) async fn review(&self, token: &str, audiences: &[String]) -> Reviewed {
        match self.look_at(token, audiences) {
            Ok(found) => found,
            Err(LacksKey) if self.renew_keys().await => {
                self.look_at(token, audiences).unwrap_or_default()
            }
            Err(LacksKey) => Reviewed::default(),
        }
    }

    fn look_at(&self, token: &str, audiences: &[String]) -> Result<Reviewed, LacksKey> {
        let shared = |of: &[String]| -> Vec<String> {
            audiences.iter().filter(|audience| of.contains(audience)).cloned().collect()
        };
        if let Some(accounts) = &self.accounts
            && let Some((user, verified)) = accounts.verify(token, &self.registry, self.clock.now())
        {
            let found = shared(&verified.audiences);
            return Ok(Reviewed { user: (!found.is_empty()).then_some((user, found)) });
        }
        // The others' tokens are for this API and nobody else.
        let ours = self.audiences();
        let found = shared(ours);
        if found.is_empty() && !ours.is_empty() {
            return Ok(Reviewed::default());
        }
        if let Some(user) = self.tokens.user_of(token.as_bytes()) {
            return Ok(Reviewed { user: Some((Arc::clone(user), found)) });
        }
        let Some(oidc) = &self.oidc else { return Ok(Reviewed::default()) };
        Ok(Reviewed { user: oidc.look(token)?.map(|user| (user, found)) })
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The token of a request; `None` where there is none, or credentials of another kind.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// The fields of one CSV line; `None` when a quote stays open.
fn csv_fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            c => field.push(c),
        }
    }
    fields.push(field.trim().to_owned());
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use quadrille_registry::access::AUTHENTICATED;

    use super::*;

    fn user<'a>(tokens: &'a Tokens, value: &str) -> Option<&'a Arc<User>> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().expect("a header value"));
        bearer(&headers).and_then(|token| tokens.user_of(token))
    }

    #[test]
    fn a_token_file_names_users_and_groups() {
        let mut tokens = Tokens::default();
        tokens
            .insert_file("a-token,alice,u-1,\"dev,ops\"\nb-token,bob,u-2\n\n")
            .expect("a good file");
        let alice = user(&tokens, "Bearer a-token").expect("known");
        assert!(alice.is_in("dev") && alice.is_in("ops") && alice.is_in(AUTHENTICATED));
        let bob = user(&tokens, "bearer  b-token").expect("known");
        assert_eq!((&*bob.name, bob.groups.len()), ("bob", 1));
        assert!(user(&tokens, "Bearer a-tokem").is_none());
        assert!(user(&tokens, "Basic a-token").is_none());
        assert!(bearer(&HeaderMap::new()).is_none());
    }

    #[test]
    fn a_bad_token_file_names_its_line() {
        let mut tokens = Tokens::default();
        let error = tokens.insert_file("t,a,1\nt2,b\n").expect_err("too few fields");
        assert_eq!(error.line, 2);
        assert!(tokens.insert_file("t,a,1,\"dev\n").is_err());
        assert!(user(&tokens, "Bearer t").is_none(), "nothing of a bad file is added");
    }
}

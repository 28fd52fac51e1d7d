//! Who asks: bearer tokens, and the users they stand for.
//!
//! Tokens are looked up by their SHA-256, so that neither memory nor timing tells them apart byte by byte.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use quadrille_registry::{Reason, Status, User};
use sha2::{Digest as _, Sha256};

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

    /// The user of a request. No `Authorization` header means the anonymous user.
    ///
    /// # Errors
    /// 401 when the token is not known.
    pub fn user(&self, headers: &HeaderMap) -> Result<&Arc<User>, Status> {
        let Some(value) = headers.get(AUTHORIZATION) else { return Ok(&self.anonymous) };
        let unauthorized = || Status::new(Reason::Unauthorized, "Unauthorized");
        let (scheme, token) =
            value.as_bytes().split_at_checked("Bearer ".len()).ok_or_else(unauthorized)?;
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return Err(unauthorized());
        }
        let digest: [u8; 32] = Sha256::digest(token.trim_ascii()).into();
        self.users.get(&digest).ok_or_else(unauthorized)
    }
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

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().expect("a header value"));
        headers
    }

    #[test]
    fn a_token_file_names_users_and_groups() {
        let mut tokens = Tokens::default();
        tokens
            .insert_file("a-token,alice,u-1,\"dev,ops\"\nb-token,bob,u-2\n\n")
            .expect("a good file");
        let alice = tokens.user(&with("Bearer a-token")).expect("known");
        assert!(alice.is_in("dev") && alice.is_in("ops") && alice.is_in(AUTHENTICATED));
        let bob = tokens.user(&with("bearer b-token")).expect("known");
        assert_eq!((&*bob.name, bob.groups.len()), ("bob", 1));
        assert_eq!(tokens.user(&with("Bearer a-tokem")).expect_err("unknown").code, 401);
        assert_eq!(tokens.user(&with("Basic a-token")).expect_err("unknown").code, 401);
        assert_eq!(&*tokens.user(&HeaderMap::new()).expect("anybody").name, "system:anonymous");
    }

    #[test]
    fn a_bad_token_file_names_its_line() {
        let mut tokens = Tokens::default();
        let error = tokens.insert_file("t,a,1\nt2,b\n").expect_err("too few fields");
        assert_eq!(error.line, 2);
        assert!(tokens.insert_file("t,a,1,\"dev\n").is_err());
        assert!(tokens.user(&with("Bearer t")).is_err(), "nothing of a bad file is added");
    }
}

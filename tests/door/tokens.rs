//! Tokens that are nobody's: expired, for somebody else, forged, or of what is gone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quadrille_tests::Client;
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::Target;

/// A token that must not be believed.
pub(crate) struct Forged {
    pub(crate) name: &'static str,
    pub(crate) token: String,
}

fn make_account(target: &Target, name: &str) {
    let account = json!({"metadata": {"name": name}});
    let path = "/api/v1/namespaces/shop/serviceaccounts";
    assert_eq!(target.admin.post(path, &account).expect("answered").code, 201);
}

fn token_of(target: &Target, account: &str, spec: &Value) -> String {
    let path = format!("/api/v1/namespaces/shop/serviceaccounts/{account}/token");
    let answer = target.admin.post(&path, &json!({"spec": spec})).expect("answered");
    assert_eq!(answer.code, 201, "{}", answer.body);
    answer.body["status"]["token"].as_str().expect("a token").to_owned()
}

fn claims(token: &str) -> Value {
    let body = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).expect("base64")).expect("JSON")
}

/// The same header with other claims, signed with a key.
fn signed(key: &PrivateKeyDer<'_>, token: &str, claims: &Value) -> String {
    let header = token.split('.').next().expect("three parts");
    let text = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(key).expect("a key");
    let signer = key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).expect("a signer");
    let signature = raw(&signer.sign(text.as_bytes()).expect("signed"));
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A signature in DER as the two numbers of 32 bytes that tokens have.
fn raw(der: &[u8]) -> Vec<u8> {
    let mut rest = der.get(2..).expect("a sequence");
    let mut out = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        out.extend(std::iter::repeat_n(0, 32 - number.len()));
        out.extend_from_slice(number);
        rest = &rest[2 + length..];
    }
    out
}

fn code(target: &Target, token: &str) -> u16 {
    let ca = target.host.dir().join("ca.crt");
    let client = Client::new(&target.host.url, &ca, Some(token)).expect("a client");
    client.get("/version").expect("answered").code
}

/// One of each kind.
pub(crate) fn forged(target: &Target) -> Vec<Forged> {
    for name in ["robot", "gone", "again"] {
        make_account(target, name);
    }
    let good = token_of(target, "robot", &json!({}));
    let key = PrivateKeyDer::from_pem_file(target.host.dir().join("sa.key")).expect("a key");
    let other = rcgen::KeyPair::generate().expect("a key");
    let other = PrivateKeyDer::try_from(other.serialize_der()).expect("a key");
    let with = |field: &str, value: Value| {
        let mut claims = claims(&good);
        claims[field] = value;
        claims
    };
    // The way of forging is right: the true claims, signed anew, are believed.
    assert_eq!(code(target, &good), 200);
    assert_eq!(code(target, &signed(&key, &good, &claims(&good))), 200);
    let gone = token_of(target, "gone", &json!({}));
    let again = token_of(target, "again", &json!({}));
    assert_eq!((code(target, &gone), code(target, &again)), (200, 200));
    for name in ["gone", "again"] {
        let path = format!("/api/v1/namespaces/shop/serviceaccounts/{name}");
        assert_eq!(target.admin.delete(&path).expect("answered").code, 200);
    }
    make_account(target, "again");
    let audience = token_of(target, "robot", &json!({"audiences": ["vault"]}));
    let parts: Vec<&str> = good.split('.').collect();
    let admin = with("sub", json!("system:serviceaccount:kube-system:admin"));
    let admin = URL_SAFE_NO_PAD.encode(admin.to_string());
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let cases = [
        ("a wrong token", "wrong".to_owned()),
        ("an expired token", signed(&key, &good, &with("exp", json!(1_700_000_000)))),
        ("a token of tomorrow", signed(&key, &good, &with("nbf", json!(9_000_000_000_u64)))),
        ("a token for somebody else", audience),
        ("a token without an audience", signed(&key, &good, &with("aud", json!([])))),
        (
            "a token of another issuer",
            signed(&key, &good, &with("iss", json!("https://elsewhere"))),
        ),
        (
            "a token with another subject",
            signed(&key, &good, &with("sub", json!("system:serviceaccount:shop:again"))),
        ),
        ("a token of another key", signed(&other, &good, &claims(&good))),
        ("a token with changed claims", format!("{}.{admin}.{}", parts[0], parts[2])),
        ("a token that says it needs no signature", format!("{none}.{}.", parts[1])),
        ("a token without its signature", format!("{}.{}.", parts[0], parts[1])),
        ("a token of an account that is gone", gone),
        ("a token of an account that was made anew", again),
    ];
    cases.into_iter().map(|(name, token)| Forged { name, token }).collect()
}

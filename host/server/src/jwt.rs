//! JSON Web Tokens: signed by us with ES256, read and verified with the usual algorithms.
//!
//! The signature is checked over the bytes as they came; claims are looked at after that and never before, but for
//! the issuer, which only chooses whose keys are asked. Algorithms go by the key, not by what the token says of
//! itself: `none` and HMAC have no place here. Pure functions, no clock.

use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair as _, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// The longest token that is looked at, in bytes: a token with a few dozen groups has 2 KiB.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// RSA moduli from 2,048 to 8,192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A token, taken apart; nothing of it is verified.
#[derive(Clone, Debug)]
pub(crate) struct Parsed<'a> {
    /// The signed part.
    signed: &'a str,
    signature: Vec<u8>,
    /// The algorithm that it says it is signed with.
    algorithm: String,
    /// The key that it says it is signed with; may be empty.
    pub(crate) key_id: String,
    /// What it claims.
    pub(crate) claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    crit: Option<Value>,
}

impl<'a> Parsed<'a> {
    /// Takes a token apart; `None` when it is none.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        // Extensions that must be understood are not.
        if header.crit.is_some() {
            return None;
        }
        let claims = serde_json::from_slice(&decode(payload)?).ok()?;
        let signature = decode(signature)?;
        Some(Self { signed, signature, algorithm: header.alg, key_id: header.kid, claims })
    }

    /// A claim that is a text.
    pub(crate) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Value::as_str)
    }

    /// A claim that is a number of seconds.
    pub(crate) fn seconds(&self, claim: &str) -> Option<i64> {
        let value = self.claims.get(claim)?;
        #[expect(clippy::cast_possible_truncation, reason = "it saturates, which is late enough")]
        value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
    }

    /// A claim that is a text or a list of texts.
    pub(crate) fn texts(&self, claim: &str) -> Vec<String> {
        match self.claims.get(claim) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => {
                many.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether a key has signed it, with an algorithm of that key.
    pub(crate) fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(&self.algorithm, self.signed.as_bytes(), &self.signature)
    }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// A key that signatures are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// A point on P-256.
    P256(Vec<u8>),
    /// A point on P-384.
    P384(Vec<u8>),
    /// An RSA key.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
}

impl PublicKey {
    fn verifies(&self, algorithm: &str, message: &[u8], signed: &[u8]) -> bool {
        let with = |algorithm: &dyn signature::VerificationAlgorithm, point: &[u8]| {
            algorithm.verify_sig(point, message, signed).is_ok()
        };
        match (self, algorithm) {
            (Self::P256(point), "ES256") => with(&signature::ECDSA_P256_SHA256_FIXED, point),
            (Self::P384(point), "ES384") => with(&signature::ECDSA_P384_SHA384_FIXED, point),
            (Self::Rsa { n, e }, _) => {
                let parameters = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signed).is_ok()
            }
            _ => false,
        }
    }

    /// Reads a key of a JSON Web Key Set; `None` for one that is of no use here.
    pub(crate) fn from_jwk(jwk: &Value) -> Option<Self> {
        let part = |name: &str| decode(jwk.get(name)?.as_str()?.trim_end_matches('='));
        let is = |name: &str, wanted: &str| jwk.get(name).and_then(Value::as_str) == Some(wanted);
        if jwk.get("use").is_some() && !is("use", "sig") {
            return None;
        }
        if is("kty", "RSA") {
            let (n, e) = (part("n")?, part("e")?);
            return RSA_BYTES.contains(&n.len()).then_some(Self::Rsa { n, e });
        }
        let size = if is("crv", "P-256") { 32 } else { 48 };
        if !is("kty", "EC") || (size == 48 && !is("crv", "P-384")) {
            return None;
        }
        let (x, y) = (part("x")?, part("y")?);
        if x.len() != size || y.len() != size {
            return None;
        }
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        Some(if size == 32 { Self::P256(point) } else { Self::P384(point) })
    }
}

/// A key that tokens are signed with: ECDSA on P-256.
pub(crate) struct SigningKey {
    pair: EcdsaKeyPair,
    id: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes the PKCS#8 form of a new key; `None` when the crypto library has no randomness.
    pub(crate) fn generate() -> Option<Vec<u8>> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        Some(document.ok()?.as_ref().to_vec())
    }

    /// Reads a key in its PKCS#8 form; `None` when it is none on P-256.
    pub(crate) fn from_pkcs8(key: &[u8]) -> Option<Self> {
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, key).ok()?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(pair.public_key().as_ref()));
        Some(Self { pair, id })
    }

    /// The key's id, a hash of its public part.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The public part.
    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::P256(self.pair.public_key().as_ref().to_vec())
    }

    /// The public part as a JSON Web Key.
    pub(crate) fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let half = |from: usize| URL_SAFE_NO_PAD.encode(point.get(from..from + 32).unwrap_or(&[]));
        json!({
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": half(1), "y": half(33),
        })
    }

    /// Signs claims; `None` when the crypto library fails.
    pub(crate) fn sign(&self, claims: &Value) -> Option<String> {
        let header = json!({"alg": "ES256", "kid": self.id});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = self.pair.sign(&random, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate().expect("randomness")).expect("our own")
    }

    #[test]
    fn a_token_is_known_by_its_signature() {
        let key = key();
        let token = key.sign(&json!({"iss": "us", "aud": ["a", "b"], "exp": 7})).expect("signs");
        let parsed = Parsed::parse(&token).expect("a token");
        assert!(parsed.is_signed_by(&key.public()));
        assert!(parsed.is_signed_by(&PublicKey::from_jwk(&key.jwk()).expect("a key")));
        assert!(!parsed.is_signed_by(&self::key().public()), "another key");
        assert_eq!((parsed.text("iss"), parsed.seconds("exp")), (Some("us"), Some(7)));
        assert_eq!(parsed.texts("aud"), ["a", "b"]);
        let (head, rest) = token.split_once('.').expect("parts");
        let (_, signature) = rest.split_once('.').expect("parts");
        let other = URL_SAFE_NO_PAD.encode(json!({"iss": "them"}).to_string());
        let forged = format!("{head}.{other}.{signature}");
        assert!(!Parsed::parse(&forged).expect("a token").is_signed_by(&key.public()));
    }

    #[test]
    fn tokens_that_name_no_signature_are_refused() {
        let key = key();
        let claims = URL_SAFE_NO_PAD.encode("{}");
        for header in ["{\"alg\":\"none\"}", "{\"alg\":\"HS256\"}", "{\"alg\":\"RS256\"}"] {
            let header = URL_SAFE_NO_PAD.encode(header);
            for token in [format!("{header}.{claims}."), format!("{header}.{claims}.AAAA")] {
                assert!(!Parsed::parse(&token).expect("parses").is_signed_by(&key.public()));
            }
        }
        let extended = URL_SAFE_NO_PAD.encode("{\"alg\":\"ES256\",\"crit\":[\"x\"]}");
        assert!(Parsed::parse(&format!("{extended}.{claims}.AAAA")).is_none());
        for garbage in ["", ".", "..", "a.b", "a.b.c", "e30.e30.e30", &"a".repeat(20_000)] {
            assert!(Parsed::parse(garbage).is_none(), "{garbage}");
        }
    }
}

//! People who come with an ID token of a foreign issuer: a real one, over TLS on the loopback, with a key of its own.
#![expect(
    clippy::disallowed_methods,
    reason = "an issuer has a thread of its own and tells the time of day"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quadrille_tests::{Client, TestHost};
use serde_json::{Value, json};

const HOST: &str = env!("CARGO_BIN_EXE_quadrille");
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

/// An issuer that answers its two documents until the test ends.
struct Issuer {
    url: String,
    key: EcdsaKeyPair,
    authority: String,
}

impl Issuer {
    fn start() -> Self {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = document.expect("randomness");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref());
        let key = key.expect("our own");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("https://localhost:{}", listener.local_addr().expect("bound").port());
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("signed");
        let authority = made.cert.pem();
        let secret =
            rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = rustls::ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .expect("it knows TLS")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], secret);
        let config = Arc::new(config.expect("a usable certificate"));
        let point = key.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "one", "alg": "ES256", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
        let own = url.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let _gone: std::io::Result<()> = answer(socket, &config, &own, &jwk);
            }
        });
        Self { url, key, authority }
    }

    /// A token for `ada` of `engines`, changed.
    fn token(&self, change: impl Fn(&mut Value)) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let mut claims = json!({
            "iss": self.url, "aud": "quadrille", "sub": "ada", "exp": now.as_secs() + 600,
            "groups": ["engines"], "team": "mills",
        });
        change(&mut claims);
        let head = json!({"alg": "ES256", "kid": "one", "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

fn answer(
    mut socket: TcpStream,
    config: &Arc<rustls::ServerConfig>,
    url: &str,
    jwk: &Value,
) -> std::io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut session =
        rustls::ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let body = if head.starts_with(b"GET /keys ") {
        json!({"keys": [jwk]})
    } else {
        json!({"issuer": url, "jwks_uri": format!("{url}/keys")})
    };
    let body = body.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    session.send_close_notify();
    session.write_tls(&mut socket)?;
    Ok(())
}

fn client(host: &TestHost, token: &str) -> Client {
    Client::new(&host.url, &host.dir().join("ca.crt"), Some(token)).expect("a client")
}

#[test]
fn a_token_of_the_named_issuer_is_a_user_with_the_rights_of_its_groups() {
    let issuer = Issuer::start();
    let folder = tempfile::tempdir().expect("temporary directories work");
    let file = folder.path().join("issuer.pem");
    std::fs::write(&file, &issuer.authority).expect("writable");
    let file = file.to_string_lossy();
    let flags = [
        "--oidc-issuer-url",
        &issuer.url,
        "--oidc-client-id",
        "quadrille",
        "--oidc-ca-file",
        &file,
        "--oidc-username-prefix",
        "people:",
        "--oidc-groups-claim",
        "groups",
        "--oidc-groups-prefix",
        "of:",
        "--oidc-required-claim",
        "team=mills",
    ];
    let host = TestHost::start_with(HOST, &flags).expect("the host starts");
    let admin = host.client().expect("a client");
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "engines"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "of:engines"}],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    assert_eq!(admin.post(path, &binding).expect("answered").code, 201);

    let ada = client(&host, &issuer.token(|_| {}));
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let who = ada.post(WHO, &review).expect("answered").body["status"]["userInfo"].clone();
    assert_eq!(who["username"], "people:ada", "{who}");
    assert_eq!(who["groups"], json!(["of:engines", "system:authenticated"]), "{who}");
    assert_eq!(ada.get(CONFIGMAPS).expect("answered").code, 200);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    assert_eq!(ada.post(CONFIGMAPS, &map).expect("answered").code, 403, "a viewer only looks");

    let refused: [fn(&mut Value); 5] = [
        |claims| claims["aud"] = "another".into(),
        |claims| claims["exp"] = 1.into(),
        |claims| claims["iss"] = "https://localhost:1".into(),
        |claims| claims["team"] = "looms".into(),
        |claims| claims["sub"] = Value::Null,
    ];
    for (number, change) in refused.into_iter().enumerate() {
        let answer = client(&host, &issuer.token(change)).get(CONFIGMAPS).expect("answered");
        assert_eq!(answer.code, 401, "change {number}: {}", answer.body);
    }
    let stranger = Issuer::start();
    let forged = stranger.token(|claims| claims["iss"] = issuer.url.clone().into());
    assert_eq!(client(&host, &forged).get(CONFIGMAPS).expect("answered").code, 401);
}

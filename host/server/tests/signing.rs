//! Claims about certificates: who asks for one and is approved is known by it.

mod support;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use quadrille_kit::SystemClock;
use quadrille_server::identity::PemPair;
use quadrille_server::{Limits, Signer, SignerError};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _, SigningKey as _,
};
use serde_json::{Value, json};
use support::{Client, Host, body_value, within};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

async fn start() -> (Host, Client) {
    let clock = Arc::new(SystemClock::default());
    let host = Host::bootstrapped(Limits::default(), clock, |parts, authority| {
        parts.client_authorities = Some(authority.certificate.clone());
    })
    .await;
    let signer = Signer::new(host.registry.clone(), &host.authority).expect("a signer");
    host.supervisor.spawn::<SignerError>("signer", signer.run(host.supervisor.shutdown()));
    let client = host.client().await;
    (host, client)
}

/// A request of a user in a group, with its key.
fn request(user: &str, group: &str) -> (String, KeyPair) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, user);
    params.distinguished_name.push(DnType::OrganizationName, group);
    let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
    (STANDARD.encode(pem), key)
}

/// An element in DER, with as long a length as is wanted.
fn element(tag: u8, content: &[&[u8]], long: bool) -> Vec<u8> {
    let content = content.concat();
    let length = u8::try_from(content.len()).expect("short");
    let size: &[u8] = if long || length >= 0x80 { &[0x81, length] } else { &[length] };
    [&[tag], size, content.as_slice()].concat()
}

/// What is a request but for one length that is longer than it need be: that of the group, or of what it is.
fn bent_request(user: &str, group: &str, (bent_kind, bent_group): (bool, bool)) -> String {
    let key = KeyPair::generate().expect("a key");
    let named = |kind: u8, text: &str, bent_kind, bent_text| {
        let kind = element(0x06, &[&[0x55, 0x04, kind]], bent_kind);
        let pair = element(0x30, &[&kind, &element(0x0c, &[text.as_bytes()], bent_text)], false);
        element(0x31, &[&pair], false)
    };
    let (name, group) = (named(3, user, false, false), named(10, group, bent_kind, bent_group));
    let subject = element(0x30, &[&name, &group], false);
    let public = key.subject_public_key_info();
    let attributes = element(0xa0, &[], false);
    let information = element(0x30, &[&[2, 1, 0], &subject, &public, &attributes], false);
    let signature = key.sign(&information).expect("signs");
    let signature = element(0x03, &[&[0], &signature], false);
    // ECDSA with SHA-256.
    let algorithm = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    pem(&element(0x30, &[&information, &algorithm, &signature], false))
}

fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
}

async fn ask(client: &Client, name: &str, spec: Value) -> (StatusCode, Value) {
    let body = json!({"metadata": {"name": name}, "spec": spec});
    let answer = client.send(Method::POST, REQUESTS, &JSON, body.to_string()).await;
    (answer.status(), body_value(answer).await)
}

async fn approve(client: &Client, name: &str) -> StatusCode {
    let (_, mut object) = client.get(&format!("{REQUESTS}/{name}")).await;
    object["status"] = json!({"conditions": [
        {"type": "Approved", "status": "True", "reason": "Test", "message": "fine"},
    ]});
    let path = format!("{REQUESTS}/{name}/approval");
    client.send(Method::PUT, &path, &JSON, object.to_string()).await.status()
}

/// The request as soon as it is signed or has failed.
async fn decided(client: &Client, name: &str) -> Value {
    let path = format!("{REQUESTS}?watch=1&fieldSelector=metadata.name%3D{name}");
    let mut events = client.watch(&path).await;
    within(async {
        loop {
            let object = events.next().await.expect("an event")["object"].clone();
            let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
            let failed = conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Failed"));
            if failed || object.pointer("/status/certificate").is_some() {
                return object;
            }
        }
    })
    .await
}

#[tokio::test]
async fn who_was_approved_authenticates_with_the_certificate() {
    let (host, client) = start().await;
    let (pem, key) = request("alice", "dev");
    let usages = json!(["client auth", "digital signature"]);
    let spec = json!({
        "request": pem, "signerName": SIGNER, "usages": usages, "expirationSeconds": 3600,
    });
    let (code, answer) = ask(&client, "alice", spec).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    assert_eq!(approve(&client, "alice").await, StatusCode::OK);
    let signed = decided(&client, "alice").await;
    let certificate = signed["status"]["certificate"].as_str().expect("a certificate");
    let certificate = STANDARD.decode(certificate).expect("base64");
    let pair = PemPair {
        certificate: String::from_utf8(certificate).expect("PEM"),
        key: key.serialize_pem(),
    };
    let alice = host.client_as(Some(&pair)).await;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (code, who) = alice.ask(Method::POST, path, &JSON, "{}").await;
    assert_eq!(code, StatusCode::CREATED, "{who}");
    assert_eq!(who["status"]["userInfo"]["username"], "alice");
    assert_eq!(who["status"]["userInfo"]["groups"], json!(["dev", "system:authenticated"]));
}

#[tokio::test]
async fn nobody_gets_a_certificate_of_a_master_or_for_a_server() {
    let (_host, client) = start().await;
    let (pem, _) = request("eve", "system:masters");
    let spec = json!({"request": pem, "signerName": SIGNER, "usages": ["client auth"]});
    let (code, refused) = ask(&client, "eve", spec).await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert_eq!(
        refused["message"],
        "certificatesigningrequests.certificates.k8s.io \"eve\" is forbidden: use of \
         kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    let (pem, _) = request("bob", "dev");
    let usages = json!(["client auth", "server auth"]);
    let spec = json!({"request": pem, "signerName": SIGNER, "usages": usages});
    assert_eq!(ask(&client, "bob", spec).await.0, StatusCode::CREATED);
    assert_eq!(approve(&client, "bob").await, StatusCode::OK);
    let failed = decided(&client, "bob").await;
    assert!(failed.pointer("/status/certificate").is_none(), "{failed}");
    let conditions = failed["status"]["conditions"].as_array().expect("conditions");
    let condition = conditions.iter().find(|c| c["type"] == "Failed").expect("it has failed");
    assert_eq!(condition["reason"], "SignerValidationFailure");
}

#[tokio::test]
async fn what_is_judged_of_a_request_is_what_is_signed() {
    let (_host, client) = start().await;
    let plain = |group| STANDARD.decode(request("eve", group).0).expect("base64");
    let plain = |group| String::from_utf8(plain(group)).expect("PEM");
    let (harmless, master) = (plain("dev"), plain("system:masters"));
    let requests = [
        ("two", format!("x{harmless}{master}")),
        ("second", format!("{harmless}{master}")),
        ("group", bent_request("eve", "system:masters", (false, true))),
        ("kind", bent_request("eve", "system:masters", (true, false))),
        ("fine", bent_request("eve", "dev", (false, false))),
    ];
    for (name, pem) in requests {
        let request = STANDARD.encode(pem);
        let spec = json!({"request": request, "signerName": SIGNER, "usages": ["client auth"]});
        let (code, answer) = ask(&client, name, spec).await;
        let expected =
            if name == "fine" { StatusCode::CREATED } else { StatusCode::UNPROCESSABLE_ENTITY };
        assert_eq!(code, expected, "{name}: {answer}");
    }
    assert_eq!(approve(&client, "fine").await, StatusCode::OK);
    let signed = decided(&client, "fine").await;
    assert!(signed.pointer("/status/certificate").is_some(), "{signed}");
}

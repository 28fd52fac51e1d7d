//! People who come with a certificate: of an authority that the operator names, or signed by the host itself.

use quadrille_tests::{Client, TestHost, eventually};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};
use serde_json::{Value, json};

const HOST: &str = env!("CARGO_BIN_EXE_quadrille");
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn named(user: &str, group: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, user);
    params.distinguished_name.push(DnType::OrganizationName, group);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A certificate of a new authority: the authority's PEM, the certificate's and its key's.
fn issued(user: &str, group: &str) -> (String, String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = named("an authority", "of the test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("signed");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let certificate = named(user, group).signed_by(&key, &issuer).expect("signed");
    (authority.pem(), certificate.pem(), key.serialize_pem())
}

fn with_certificate(host: &TestHost, certificate: &str, key: &str) -> Client {
    let ca = host.dir().join("ca.crt");
    Client::with_certificate(&host.url, &ca, certificate, key).expect("a client")
}

fn who(client: &Client) -> Value {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = client.post(WHO, &review).expect("answered");
    assert_eq!(answer.code, 201, "{}", answer.body);
    answer.body["status"]["userInfo"].clone()
}

#[test]
fn a_certificate_of_the_named_authority_is_known_and_a_strangers_is_not() {
    let (authority, certificate, key) = issued("ada", "engines");
    let folder = tempfile::tempdir().expect("temporary directories work");
    let file = folder.path().join("clients.pem");
    std::fs::write(&file, authority).expect("writable");
    let flags = ["--client-ca-file", &*file.to_string_lossy()];
    let host = TestHost::start_with(HOST, &flags).expect("the host starts");
    let known = who(&with_certificate(&host, &certificate, &key));
    assert_eq!(known["username"], "ada");
    let groups = known["groups"].as_array().cloned().unwrap_or_default();
    assert!(groups.contains(&json!("engines")), "{known}");
    let (_, strange, key) = issued("admin", "system:masters");
    let stranger = with_certificate(&host, &strange, &key).get("/api/v1/namespaces");
    let refused = stranger.map_or(true, |answer| answer.code == 401 || answer.code == 403);
    assert!(refused, "an authority that nobody named vouches for nobody");
}

#[test]
fn an_approved_request_gets_a_certificate_that_the_host_knows_again() {
    let host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    let key = KeyPair::generate().expect("a key");
    let pem = named("grace", "compilers").serialize_request(&key).expect("a request").pem();
    let request = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "grace"},
        "spec": {"request": base64(pem.expect("PEM").as_bytes()), "usages": ["client auth"],
            "signerName": "kubernetes.io/kube-apiserver-client"},
    });
    let made = client.post(REQUESTS, &request).expect("answered");
    assert_eq!(made.code, 201, "{}", made.body);
    let mut approved = made.body;
    approved["status"] =
        json!({"conditions": [{"type": "Approved", "status": "True", "reason": "Test"}]});
    let path = format!("{REQUESTS}/grace");
    let body = approved.to_string();
    let answer =
        client.send("PUT", &format!("{path}/approval"), "application/json", body.as_bytes());
    assert_eq!(answer.expect("answered").code, 200);
    let certificate = eventually("the certificate is there", || {
        let status = client.get(&path)?.body["status"].clone();
        let text = status["certificate"].as_str().map(str::to_owned);
        text.ok_or_else(|| anyhow::anyhow!("{status}"))
    });
    let certificate = String::from_utf8(unbase64(&certificate)).expect("PEM");
    let known = who(&with_certificate(&host, &certificate, &key.serialize_pem()));
    assert_eq!(known["username"], "grace", "{known}");
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn unbase64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}

//! What stands in a URL.

use super::{Case, JSON, case};
use crate::CONFIG_MAPS;

/// Questions: selectors, pages, revisions.
pub(super) fn queries() -> Vec<Case> {
    let get = |name: &str, query: &str, codes: &'static [u16]| {
        case(name, ("GET", &format!("{CONFIG_MAPS}?{query}")), (JSON, ""), codes)
    };
    let values = vec!["v"; 12_000].join(",");
    vec![
        get("a set of 12,000", &format!("labelSelector=a%20in%20({values})"), &[200]),
        get(
            "5,000 requirements",
            &format!("labelSelector={}", vec!["a!=b"; 5_000].join(",")),
            &[200],
        ),
        get("parentheses", &format!("labelSelector=a%20in%20{}", "(".repeat(20_000)), &[400]),
        get("commas", &format!("labelSelector={}", ",".repeat(30_000)), &[400]),
        get("a selector of nonsense", "labelSelector=%00%ff", &[400]),
        get("a field that nobody selects", "fieldSelector=data.a=b", &[400]),
        get(
            "5,000 fields",
            &format!("fieldSelector={}", vec!["metadata.name!=b"; 2_500].join(",")),
            &[200, 400],
        ),
        get(
            "backslashes",
            &format!("fieldSelector=metadata.name={}", "%5C".repeat(10_000)),
            &[200, 400],
        ),
        get("a page that nobody began", "limit=5&continue=%F0%9F%92%A9", &[400]),
        get(
            "a page of 10,000 letters",
            &format!("limit=5&continue={}", "A".repeat(10_000)),
            &[400],
        ),
        get(
            "a page before the first",
            "limit=5&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiIn0",
            &[200, 400, 410],
        ),
        get(
            "a path as the start of a page",
            "limit=5&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi8uLi9zZWNyZXRzIn0",
            &[200, 400, 410],
        ),
        get("a limit below 0", "limit=-9223372036854775808", &[200, 400, 422]),
        get("a limit beyond 64 bits", "limit=9223372036854775808", &[400]),
        get(
            "a revision of the future",
            "resourceVersion=18446744073709551615&timeoutSeconds=1",
            &[400, 504],
        ),
        get("a revision below 0", "resourceVersion=-1", &[400, 500]),
        get("a match of nothing", "resourceVersionMatch=Exact", &[422, 400]),
        get(
            "a match that nobody knows",
            "resourceVersion=1&resourceVersionMatch=Nearly",
            &[422, 400],
        ),
        get("a broken escape", "labelSelector=%zz", &[400]),
        get("20,000 parameters", &vec!["dryRun=All"; 4_000].join("&"), &[200]),
        get("an unknown dry run", "dryRun=Some", &[200]),
        get(
            "a watch that ends at once",
            "watch=1&timeoutSeconds=1&resourceVersion=18446744073709551615",
            &[400, 504, 200],
        ),
        get("a time before all", "watch=1&timeoutSeconds=-5&limit=x", &[400]),
    ]
}

/// Paths that mean something else to somebody else.
pub(super) fn paths() -> Vec<Case> {
    [
        ("/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets", 404),
        ("/api/v1/namespaces/default/configmaps/../secrets", 404),
        ("/api/v1/namespaces/default/configmaps/witness%00", 404),
        ("/api/v1/namespaces/default/configmaps/witness%0d%0aX-A:%20b", 404),
        ("/api/v1/namespaces/default/configmaps/%ff", 400),
        ("/api/v1/namespaces/default/configmaps/%f", 400),
        ("/api/v1/namespaces/default%2fconfigmaps/witness", 404),
        ("//api//v1//namespaces", 404),
        ("/api/v1/namespaces/default/configmaps//witness", 404),
        ("/api/v1/namespaces/default/configmaps/witness/status/status", 404),
        ("/api/v1/namespaces/default/configmaps/witness;a=b", 404),
        ("/api/v1/namespaces/default/configmaps/witness%3fwatch=1", 404),
        ("/api/v1/namespaces/..;/secrets", 200),
        ("/apis/../api/v1/secrets", 404),
        ("/api/v1\\namespaces", 404),
        ("/%61pi/v1/namespaces", 404),
        ("/quadrille/../api/v1/secrets", 404),
        ("/apis/quadrille.dev/v1/plugins/..%2f..%2fetc/component", 404),
        (
            "/apis/quadrille.dev/v1/plugins/witness/component?digest=sha256:..%2f..%2f..%2fca.key",
            404,
        ),
        ("/openapi/v3/../../ca.key", 404),
        ("/quadrille/runs/18446744073709551616", 400),
        ("/quadrille/runs/-1/case", 400),
        ("/quadrille/why?resource=secrets&name=..%2f..", 404),
        ("/quadrille/effects?revision=99999999999999999999", 400),
        ("/quadrille/settled?wait=99999999999999999999s", 400),
        ("/quadrille/settled?revision=18446744073709551615", 200),
    ]
    .into_iter()
    .map(|(path, code)| {
        let codes: &[u16] = match code {
            404 => &[404],
            200 => &[200, 400, 404, 410],
            _ => &[400],
        };
        case(path, ("GET", path), (JSON, ""), codes)
    })
    .collect()
}

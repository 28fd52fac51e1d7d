//! What real clients sent: see `README.md`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const FILES: [(&str, &str); 13] = [
    ("apply", include_str!("../corpus/apply.txt")),
    ("cel", include_str!("../corpus/cel.txt")),
    ("fields", include_str!("../corpus/fields.txt")),
    ("fieldsv1", include_str!("../corpus/fieldsv1.txt")),
    ("json", include_str!("../corpus/json.txt")),
    ("json-patch", include_str!("../corpus/json-patch.txt")),
    ("jsonpath", include_str!("../corpus/jsonpath.txt")),
    ("labels", include_str!("../corpus/labels.txt")),
    ("merge-patch", include_str!("../corpus/merge-patch.txt")),
    ("protobuf", include_str!("../corpus/protobuf.txt")),
    ("query", include_str!("../corpus/query.txt")),
    ("strategic-patch", include_str!("../corpus/strategic-patch.txt")),
    ("yaml", include_str!("../corpus/yaml.txt")),
];

/// The inputs of some files; never none.
pub fn read(names: &[&str]) -> Vec<Vec<u8>> {
    let files = FILES.iter().filter(|(name, _)| names.contains(name));
    let lines = files.flat_map(|(_, text)| text.lines());
    let mut inputs: Vec<Vec<u8>> = lines.filter_map(|line| STANDARD.decode(line).ok()).collect();
    inputs.push(Vec::new());
    inputs
}

//! The protobuf form of `/openapi/v2`: gnostic's `openapi.v2.Document`, as far as kubectl and Argo CD read it.
//!
//! The JSON form of a path or schema goes in, its message is appended. Extensions (`x-…`) and free values travel as YAML
//! text, of which JSON is a part.

use bytes::Bytes;
use serde_json::{Map, Value};

/// A message that is being written.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or_default());
    }

    fn bytes(&mut self, number: u64, bytes: &[u8]) {
        self.varint(number << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, number: u64, message: &Self) {
        self.bytes(number, &message.0);
    }

    /// A text; an empty one is not written.
    fn text(&mut self, number: u64, text: &str) {
        if !text.is_empty() {
            self.bytes(number, text.as_bytes());
        }
    }

    fn flag(&mut self, number: u64, flag: bool) {
        if flag {
            self.varint(number << 3);
            self.varint(1);
        }
    }

    fn integer(&mut self, number: u64, value: i64) {
        if value != 0 {
            self.varint(number << 3);
            self.varint(value.cast_unsigned());
        }
    }

    fn double(&mut self, number: u64, value: f64) {
        if value != 0.0 {
            self.varint(number << 3 | 1);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// The whole document.
#[derive(Debug)]
pub(super) struct Document {
    head: Message,
    paths: Message,
    definitions: Message,
}

impl Document {
    pub(super) fn new(swagger: &str, title: &str, version: &str) -> Self {
        let (mut head, mut info) = (Message::default(), Message::default());
        info.text(1, title);
        info.text(2, version);
        head.text(1, swagger);
        head.message(2, &info);
        Self { head, paths: Message::default(), definitions: Message::default() }
    }

    /// Adds a path with its operations.
    pub(super) fn path(&mut self, path: &str, item: &Value) {
        self.paths.message(2, &named(path, &path_item(item)));
    }

    /// Adds a schema.
    pub(super) fn schema(&mut self, name: &str, of: &Value) {
        self.definitions.message(1, &named(name, &schema(of)));
    }

    pub(super) fn finish(mut self) -> Bytes {
        self.head.message(8, &self.paths);
        self.head.message(9, &self.definitions);
        Bytes::from(self.head.0)
    }
}

fn named(name: &str, value: &Message) -> Message {
    let mut message = Message::default();
    message.text(1, name);
    message.message(2, value);
    message
}

/// A free value.
fn any(value: &Value) -> Message {
    let mut message = Message::default();
    message.text(2, &value.to_string());
    message
}

/// The extensions among a map's keys.
fn extensions(message: &mut Message, number: u64, map: &Map<String, Value>) {
    for (key, value) in map.iter().filter(|(key, _)| key.starts_with("x-")) {
        message.message(number, &named(key, &any(value)));
    }
}

fn path_item(item: &Value) -> Message {
    const METHODS: [(&str, u64); 5] =
        [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)];
    let mut message = Message::default();
    for (method, number) in METHODS {
        if let Some(of) = item.get(method).and_then(Value::as_object) {
            message.message(number, &operation(of));
        }
    }
    for parameter in item.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        message.message(9, &self::parameter(parameter));
    }
    message
}

fn operation(of: &Map<String, Value>) -> Message {
    let mut message = Message::default();
    message.text(5, of.get("operationId").and_then(Value::as_str).unwrap_or_default());
    for (key, number) in [("produces", 6), ("consumes", 7)] {
        for kind in of.get(key).and_then(Value::as_array).into_iter().flatten() {
            message.text(number, kind.as_str().unwrap_or_default());
        }
    }
    for parameter in of.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        message.message(8, &self::parameter(parameter));
    }
    let mut responses = Message::default();
    let given = of.get("responses").and_then(Value::as_object).into_iter().flatten();
    for (code, response) in given {
        let mut inner = Message::default();
        inner.text(1, response.get("description").and_then(Value::as_str).unwrap_or_default());
        if let Some(of) = response.get("schema") {
            let mut item = Message::default();
            item.message(1, &schema(of));
            inner.message(2, &item);
        }
        let mut value = Message::default();
        value.message(1, &inner);
        responses.message(1, &named(code, &value));
    }
    message.message(9, &responses);
    extensions(&mut message, 13, of);
    message
}

fn parameter(of: &Value) -> Message {
    let text = |key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default();
    let required = of.get("required") == Some(&Value::Bool(true));
    let (mut own, mut parameter) = (Message::default(), Message::default());
    if text("in") == "body" {
        own.text(1, text("description"));
        own.text(2, text("name"));
        own.text(3, "body");
        own.flag(4, required);
        if let Some(of) = of.get("schema") {
            own.message(5, &schema(of));
        }
        parameter.message(1, &own);
    } else {
        own.flag(1, required);
        own.text(2, text("in"));
        own.text(3, text("description"));
        own.text(4, text("name"));
        let in_path = text("in") == "path";
        own.text(if in_path { 5 } else { 6 }, text("type"));
        let mut choice = Message::default();
        choice.message(if in_path { 4 } else { 3 }, &own);
        parameter.message(2, &choice);
    }
    let mut item = Message::default();
    item.message(1, &parameter);
    item
}

/// One schema; keywords in the order of their numbers.
fn schema(of: &Value) -> Message {
    let mut message = Message::default();
    let Some(map) = of.as_object() else { return message };
    let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default();
    let flag = |key: &str| map.get(key) == Some(&Value::Bool(true));
    let integer = |key: &str| map.get(key).and_then(Value::as_i64).unwrap_or_default();
    let double = |key: &str| map.get(key).and_then(Value::as_f64).unwrap_or_default();
    let list = |key: &str| map.get(key).and_then(Value::as_array).into_iter().flatten();
    for (key, number) in [("$ref", 1), ("format", 2), ("title", 3), ("description", 4)] {
        message.text(number, text(key));
    }
    if let Some(default) = map.get("default") {
        message.message(5, &any(default));
    }
    message.double(6, double("multipleOf"));
    message.double(7, double("maximum"));
    message.flag(8, flag("exclusiveMaximum"));
    message.double(9, double("minimum"));
    message.flag(10, flag("exclusiveMinimum"));
    message.integer(11, integer("maxLength"));
    message.integer(12, integer("minLength"));
    message.text(13, text("pattern"));
    message.integer(14, integer("maxItems"));
    message.integer(15, integer("minItems"));
    message.flag(16, flag("uniqueItems"));
    message.integer(17, integer("maxProperties"));
    message.integer(18, integer("minProperties"));
    list("required").for_each(|name| message.text(19, name.as_str().unwrap_or_default()));
    list("enum").for_each(|value| message.message(20, &any(value)));
    structure(&mut message, map);
    extensions(&mut message, 31, map);
    message
}

/// What a schema says of what is inside.
fn structure(message: &mut Message, map: &Map<String, Value>) {
    match map.get("additionalProperties") {
        Some(Value::Bool(allowed)) => {
            let mut item = Message::default();
            item.flag(2, *allowed);
            message.message(21, &item);
        }
        Some(of @ Value::Object(_)) => {
            let mut item = Message::default();
            item.message(1, &schema(of));
            message.message(21, &item);
        }
        _ => {}
    }
    if let Some(kind) = map.get("type").and_then(Value::as_str) {
        let mut item = Message::default();
        item.text(1, kind);
        message.message(22, &item);
    }
    if let Some(items) = map.get("items").filter(|items| items.is_object()) {
        let mut item = Message::default();
        item.message(1, &schema(items));
        message.message(23, &item);
    }
    let all_of = map.get("allOf").and_then(Value::as_array).into_iter().flatten();
    all_of.for_each(|of| message.message(24, &schema(of)));
    if let Some(fields) = map.get("properties").and_then(Value::as_object) {
        let mut properties = Message::default();
        for (name, of) in fields {
            properties.message(1, &named(name, &schema(of)));
        }
        message.message(25, &properties);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The fields of a message as (number, bytes); integers as their bytes.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let (mut value, mut shift) = (0, 0);
            while let Some((first, rest)) = bytes.split_first() {
                *bytes = rest;
                value |= u64::from(first & 0x7f) << shift;
                shift += 7;
                if first & 0x80 == 0 {
                    break;
                }
            }
            value
        }
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let length = match tag & 7 {
                0 => {
                    let value = varint(&mut bytes);
                    found.push((tag >> 3, vec![u8::try_from(value).expect("small")]));
                    continue;
                }
                1 => 8,
                _ => usize::try_from(varint(&mut bytes)).expect("fits"),
            };
            let (value, rest) = bytes.split_at(length);
            found.push((tag >> 3, value.to_vec()));
            bytes = rest;
        }
        found
    }

    fn find(bytes: &[u8], path: &[u64]) -> Vec<u8> {
        path.iter().fold(bytes.to_vec(), |bytes, number| {
            let all = fields(&bytes);
            all.into_iter().find(|(n, _)| n == number).expect("the field is there").1
        })
    }

    #[test]
    fn a_schema_is_found_where_gnostic_has_it() {
        let mut document = Document::new("2.0", "t", "1");
        document.schema(
            "a.B",
            &json!({"type": "object", "required": ["x"], "properties": {"x": {"type": "integer", "maxLength": 30}},
            "x-kubernetes-group-version-kind": [{"kind": "B"}]}),
        );
        let bytes = document.finish();
        assert_eq!(find(&bytes, &[1]), b"2.0");
        assert_eq!(find(&bytes, &[2, 1]), b"t");
        let named = find(&bytes, &[9, 1]);
        assert_eq!(find(&named, &[1]), b"a.B");
        assert_eq!(find(&named, &[2, 22, 1]), b"object");
        assert_eq!(find(&named, &[2, 19]), b"x");
        assert_eq!(find(&named, &[2, 25, 1, 2, 22, 1]), b"integer");
        assert_eq!(find(&named, &[2, 31, 1]), b"x-kubernetes-group-version-kind");
        assert_eq!(find(&named, &[2, 31, 2, 2]), br#"[{"kind":"B"}]"#);
    }

    #[test]
    fn an_operation_tells_its_parameters_and_its_kind() {
        let mut document = Document::new("2.0", "t", "1");
        document.path(
            "/apis/a/v1/bs/{name}",
            &json!({"patch": {"operationId": "p", "parameters": [{"name": "dryRun", "in": "query", "type": "string"}],
            "x-kubernetes-group-version-kind": {"kind": "B"}}, "parameters": [{"name": "name", "in": "path",
            "required": true, "type": "string"}]}),
        );
        let item = find(&document.finish(), &[8, 2, 2]);
        assert_eq!(find(&item, &[8, 8, 1, 2, 3, 4]), b"dryRun");
        assert_eq!(find(&item, &[8, 13, 1]), b"x-kubernetes-group-version-kind");
        assert_eq!(find(&item, &[9, 1, 2, 4, 4]), b"name");
        assert_eq!(find(&item, &[9, 1, 2, 4, 1]), [1]);
    }
}

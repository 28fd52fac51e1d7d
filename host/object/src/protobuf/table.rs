//! The table of messages, read once from `data/protobuf.txt`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Integer32,
    Integer64,
    Boolean,
    Double,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// JSON as bytes.
    Json,
    /// JSON or an enveloped message as bytes.
    Raw,
    /// A message that is only a list of texts.
    Texts,
    /// A schema, or a list of them, a boolean, or a list of texts.
    SchemaOr,
    /// Another message, by its place in the table.
    Message(usize),
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags of the table, read as they stand there"
)]
pub(super) struct Field {
    pub(super) number: u64,
    pub(super) name: &'static str,
    pub(super) r#type: Type,
    pub(super) repeated: bool,
    pub(super) map: bool,
    pub(super) inline: bool,
    /// Whether a zero value that was sent is kept.
    pub(super) keeps_zero: bool,
}

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    fields: Vec<Field>,
}

impl Message {
    /// Every field, by number.
    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub(super) fn field(&self, number: u64) -> Option<&Field> {
        let at = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        self.fields.get(at)
    }
}

#[derive(Debug)]
struct Table {
    messages: Vec<Message>,
    by_name: BTreeMap<&'static str, usize>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| read(include_str!("../../data/protobuf.txt")));

/// A message by its place.
pub(super) fn message(at: usize) -> Option<&'static Message> {
    TABLE.messages.get(at)
}

/// The message of a kind; `DeleteOptions` and the like belong to every group.
pub(super) fn of_kind(api_version: &str, kind: &str) -> Option<usize> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let package = match group {
        "" => "core",
        "internal.apiserver.k8s.io" => "apiserverinternal",
        group => group.split_once('.').map_or(group, |(first, _)| first),
    };
    let by_name = &TABLE.by_name;
    let own = by_name.get(format!("{package}.{version}.{kind}").as_str());
    own.or_else(|| by_name.get(format!("meta.{kind}").as_str())).copied()
}

fn read(text: &'static str) -> Table {
    let lines = || text.lines().filter(|line| !line.starts_with('#'));
    let names = lines().filter_map(|line| line.strip_prefix('@'));
    let by_name: BTreeMap<_, _> = names.enumerate().map(|(at, name)| (name, at)).collect();
    let mut messages: Vec<Message> = Vec::new();
    for line in lines() {
        if line.starts_with('@') {
            messages.push(Message { fields: Vec::new() });
        } else if let (Some(message), Some(field)) = (messages.last_mut(), field(line, &by_name)) {
            message.fields.push(field);
        }
    }
    Table { messages, by_name }
}

fn field(line: &'static str, by_name: &BTreeMap<&'static str, usize>) -> Option<Field> {
    let mut words = line.split(' ');
    let (number, name, r#type) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let flags = words.next().unwrap_or_default();
    let r#type = match r#type {
        "string" => Type::Text,
        "int32" => Type::Integer32,
        "int64" => Type::Integer64,
        "bool" => Type::Boolean,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "meta.Time" => Type::Time,
        "meta.MicroTime" => Type::MicroTime,
        "machinery.api.resource.Quantity" => Type::Quantity,
        "machinery.util.intstr.IntOrString" => Type::IntOrString,
        "machinery.runtime.RawExtension" => Type::Raw,
        "meta.FieldsV1" | "apiextensions.v1.JSON" => Type::Json,
        "apiextensions.v1.JSONSchemaPropsOrArray"
        | "apiextensions.v1.JSONSchemaPropsOrBool"
        | "apiextensions.v1.JSONSchemaPropsOrStringArray" => Type::SchemaOr,
        "meta.Verbs" => Type::Texts,
        list if list.ends_with(".ExtraValue") => Type::Texts,
        name => Type::Message(*by_name.get(name)?),
    };
    Some(Field {
        number,
        name,
        r#type,
        repeated: flags.contains('r'),
        map: flags.contains('m'),
        inline: flags.contains('i'),
        keeps_zero: flags.contains(['p', 'k']),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_understood() {
        let text = include_str!("../../data/protobuf.txt");
        let fields = text.lines().filter(|l| l.starts_with(|c: char| c.is_ascii_digit())).count();
        let read: usize = TABLE.messages.iter().map(|message| message.fields.len()).sum();
        assert_eq!(read, fields);
        for message in &TABLE.messages {
            assert!(message.fields.is_sorted_by_key(|field| field.number));
        }
        assert!(of_kind("rbac.authorization.k8s.io/v1", "Role").is_some());
        assert!(of_kind("apiextensions.k8s.io/v1", "CustomResourceDefinition").is_some());
        assert!(of_kind("apps/v1", "DeleteOptions").is_some());
        assert!(of_kind("example.com/v1", "Widget").is_none());
    }
}

//! The table of the types in a pod template: `data/pod-template.txt`, read when a hash is wanted.

use std::collections::BTreeMap;

const TEXT: &str = include_str!("../../data/pod-template.txt");

/// The fields of each type, in order, as they stand in the text.
pub(super) struct Table(BTreeMap<&'static str, Vec<&'static str>>);

/// One field of a type.
pub(super) struct Field {
    /// Its name in Go.
    pub(super) name: &'static str,
    /// Its name in JSON; `-` when the fields of its type stand in the object itself.
    pub(super) json: String,
    /// Its type in Go.
    pub(super) r#type: &'static str,
}

impl Table {
    pub(super) fn built_in() -> Self {
        let mut types: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut current = "";
        for line in TEXT.lines() {
            let mut words = line.split_ascii_whitespace();
            if !line.starts_with(' ') {
                current = words.next().unwrap_or_default();
            }
            types.entry(current).or_default().extend(words);
        }
        Self(types)
    }

    pub(super) fn has(&self, r#type: &str) -> bool {
        self.0.contains_key(r#type)
    }

    pub(super) fn fields(&self, r#type: &str) -> Vec<Field> {
        let fields = self.0.get(r#type).into_iter().flatten();
        fields.filter_map(|text| read(text)).collect()
    }
}

/// `Name=type` or `Name:json=type`.
fn read(text: &'static str) -> Option<Field> {
    let (names, r#type) = text.split_once('=')?;
    if let Some((name, json)) = names.split_once(':') {
        return Some(Field { name, json: json.to_owned(), r#type });
    }
    let (first, rest) = names.split_at_checked(1)?;
    let json = format!("{}{rest}", first.to_ascii_lowercase());
    Some(Field { name: names, json, r#type })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_table_is_read() {
        let table = Table::built_in();
        for (r#type, fields) in &table.0 {
            assert_eq!(table.fields(r#type).len(), fields.len(), "{type}", r#type = r#type);
        }
        assert!(table.has("v1.PodSpec") && table.0.len() > 100);
    }
}

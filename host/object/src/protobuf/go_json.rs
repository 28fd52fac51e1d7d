//! JSON with fields in the order in which Go writes them: that of the fields of a type, which is that of its protobuf
//! numbers, where nothing has touched them, and that of the alphabet where a patch has.

use serde_json::{Map, Value};

use super::table::{self, Field, Message, Type};

/// An object as kube-apiserver shows the result of a patch; `touched` has the shape of what the patch changed.
pub(super) fn patched(
    object: &Map<String, Value>,
    touched: &Value,
    message: Option<&Message>,
) -> String {
    let mut out = String::with_capacity(512);
    let mut fields = Fields::begin(&mut out);
    for (key, value) in object {
        fields.key(key);
        let of = message.and_then(|message| field(message, key));
        match (touched.get(key), value) {
            (Some(touched @ Value::Object(_)), Value::Object(nested)) => {
                let inner = of.filter(|of| !of.map).and_then(message_of);
                fields.out.push_str(&patched(nested, touched, inner));
            }
            (Some(_), given) => fields.out.push_str(&given.to_string()),
            (None, kept) => write(fields.out, kept, of),
        }
    }
    fields.end();
    out
}

fn message_of(of: &Field) -> Option<&'static Message> {
    let Type::Message(at) = of.r#type else { return None };
    table::message(at)
}

/// A field of a message by its JSON name, also of one that JSON flattens.
fn field<'t>(message: &'t Message, name: &str) -> Option<&'t Field> {
    let direct = message.fields().iter().find(|of| !of.inline && of.name == name);
    direct.or_else(|| {
        let mut inner = message.fields().iter().filter(|of| of.inline).filter_map(message_of);
        inner.find_map(|message| field(message, name))
    })
}

/// The names of a message's fields in their order.
fn order(message: &Message) -> Vec<&'static str> {
    let names = message.fields().iter().flat_map(|of| match message_of(of).filter(|_| of.inline) {
        Some(inner) => order(inner),
        None => vec![of.name],
    });
    names.collect()
}

fn write(out: &mut String, value: &Value, of: Option<&Field>) {
    let message = of.and_then(message_of);
    match (value, message, of) {
        (Value::Object(object), Some(message), Some(of)) if !of.map => {
            let mut fields = Fields::begin(out);
            for name in order(message) {
                let Some(value) = object.get(name) else { continue };
                fields.key(name);
                write(fields.out, value, field(message, name));
            }
            fields.end();
        }
        (Value::Array(items), Some(_), Some(of)) if of.repeated => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(out, item, Some(of));
            }
            out.push(']');
        }
        (other, ..) => out.push_str(&other.to_string()),
    }
}

/// Writes the fields of one object.
struct Fields<'o> {
    out: &'o mut String,
    first: bool,
}

impl<'o> Fields<'o> {
    fn begin(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, first: true }
    }

    fn key(&mut self, name: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        self.out.push_str(&Value::from(name).to_string());
        self.out.push(':');
    }

    fn end(self) {
        self.out.push('}');
    }
}

//! One field of an encoded object, read without decoding the rest.

use std::borrow::Cow;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The text of the scalar at a dotted path of map keys, such as `status.phase`; numbers and booleans as JSON
/// writes them. `None` when it is absent, null or no scalar, or when `bytes` are not JSON.
pub fn scalar_at<'a>(bytes: &'a [u8], path: &str) -> Option<Cow<'a, str>> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    deserializer.deserialize_any(Walk { path: Some(path) }).ok().flatten()
}

/// Follows a path; `None` once it has arrived.
struct Walk<'p> {
    path: Option<&'p str>,
}

impl Walk<'_> {
    fn arrived<'de>(&self, text: impl Into<Cow<'de, str>>) -> Option<Cow<'de, str>> {
        self.path.is_none().then(|| text.into())
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (wanted, rest) = match self.path {
            Some(path) => {
                path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)))
            }
            None => ("", None),
        };
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if self.path.is_some() && key == wanted {
                // The last of equal keys counts.
                found = map.next_value_seed(Walk { path: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(self.arrived(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.arrived(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.arrived(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.arrived(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.arrived(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.arrived(value.to_string()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

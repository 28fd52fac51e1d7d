//! JSON that is carried and not looked into, and the odd scalar.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// A piece of JSON as text: costs a copy to read and nothing to write.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Raw(Box<RawValue>);

impl Raw {
    /// The piece as a value.
    ///
    /// # Errors
    /// Never in practice: it was JSON when it was read.
    pub fn to_value(&self) -> Result<Value> {
        self.read()
    }

    /// The piece, or some of its fields, as a type.
    ///
    /// # Errors
    /// [`Error::Json`] when it has other types.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        serde_json::from_str(self.0.get()).map_err(|e| Error::json("read a part of an object", &e))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl From<Value> for Raw {
    fn from(value: Value) -> Self {
        Self(RawValue::from_string(value.to_string()).expect("a value's text is JSON"))
    }
}

impl Default for Raw {
    fn default() -> Self {
        Self(RawValue::NULL.to_owned())
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

/// Equal when the values are, whatever the order of their fields.
impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
            || matches!((self.to_value(), other.to_value()), (Ok(a), Ok(b)) if a == b)
    }
}

/// A number, or a text such as `25%`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A text.
    String(String),
}

impl IntOrString {
    /// The number, or this share of `total`; rounded up or down. A text that is no percentage counts as nothing.
    ///
    /// ```
    /// # use quadrille_sdk::k8s::IntOrString;
    /// assert_eq!(IntOrString::String("25%".to_owned()).of(10, true), 3);
    /// assert_eq!(IntOrString::String("25%".to_owned()).of(10, false), 2);
    /// assert_eq!(IntOrString::Int(4).of(10, true), 4);
    /// ```
    pub fn of(&self, total: i64, round_up: bool) -> i64 {
        let percent = match self {
            Self::Int(number) => return *number,
            Self::String(text) => {
                text.strip_suffix('%').and_then(|p| p.parse::<i64>().ok()).unwrap_or(0)
            }
        };
        let hundredfold = total.saturating_mul(percent);
        hundredfold.div_euclid(100) + i64::from(round_up && hundredfold.rem_euclid(100) != 0)
    }
}

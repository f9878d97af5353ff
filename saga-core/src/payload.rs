//! Values on their way through the log: JSON text, carried without being parsed.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// Default upper bound of one value (input or output), in bytes of JSON: 256 KiB.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

/// A JSON value kept as text: an input, an output. Cheap to clone.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Payload(Arc<RawValue>);

impl Payload {
    /// Encodes a value as JSON.
    ///
    /// # Errors
    /// [`PayloadError::Encode`] when the value has no JSON form, such as a map
    /// with keys that are not text.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        let raw = to_raw_value(value).map_err(|e| PayloadError::Encode(e.to_string()))?;
        Ok(Self(raw.into()))
    }

    /// Wraps JSON text after checking that it is JSON.
    ///
    /// # Errors
    /// [`PayloadError::Decode`] when it is not.
    pub fn from_json(text: impl Into<String>) -> Result<Self, PayloadError> {
        let raw = RawValue::from_string(text.into())
            .map_err(|e| PayloadError::Decode { wanted: "JSON", why: e.to_string() })?;
        Ok(Self(raw.into()))
    }

    /// The JSON value `null`.
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }

    /// Decodes into a Rust type.
    ///
    /// # Errors
    /// [`PayloadError::Decode`] naming the type and the first mismatch.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        serde_json::from_str(self.as_json()).map_err(|e| PayloadError::Decode {
            wanted: std::any::type_name::<T>(),
            why: e.to_string(),
        })
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }

    /// How deep brackets are nested in a text of JSON, outside of its strings; 0 where there are none.
    /// Whoever reads it, in whatever language, has to be able to.
    ///
    /// ```
    /// # use saga_core::Payload;
    /// assert_eq!(Payload::depth_of(r#"{"skus": ["[[["]}"#), 2);
    /// ```
    pub fn depth_of(json: &str) -> usize {
        let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
        for byte in json.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'[' | b'{' if !quoted => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        deepest
    }

    /// Checks the size.
    ///
    /// # Errors
    /// [`PayloadError::TooBig`] when the JSON text is longer than `bytes_max`.
    pub fn within(self, bytes_max: usize) -> Result<Self, PayloadError> {
        let bytes = self.as_json().len();
        if bytes > bytes_max {
            return Err(PayloadError::TooBig { bytes, bytes_max });
        }
        Ok(self)
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

/// Why a value could not travel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The value has no JSON form.
    #[error("the value cannot be written as JSON: {0}")]
    Encode(String),
    /// The JSON is not of the wanted type.
    #[error("the value cannot be read as {wanted}: {why}")]
    Decode {
        /// The wanted Rust type.
        wanted: &'static str,
        /// The first mismatch.
        why: String,
    },
    /// The value is larger than the bound.
    #[error(
        "the value is {bytes} bytes of JSON, the bound is {bytes_max}: pass a reference to large data instead"
    )]
    TooBig {
        /// Its size.
        bytes: usize,
        /// The bound in force.
        bytes_max: usize,
    },
}

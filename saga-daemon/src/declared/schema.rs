//! The JSON Schema of the format, made from its table of keys.

use serde_json::{Map, Value, json};

use super::keys::{
    BREAKER, CALL, DEFAULTS, DEFINITION, GROUP, Key, Kind, Object, PARTICIPANT, RETRY, STEP,
};
use super::values::{DURATION_PATTERN, NAME_PATTERN, SIZE_PATTERN};

/// Every kind of mapping within a definition.
static PARTS: [&Object; 7] = [&DEFAULTS, &PARTICIPANT, &STEP, &GROUP, &CALL, &RETRY, &BREAKER];

/// The JSON Schema (draft 2020-12) of a definition file, for editors and for those who generate
/// definitions.
///
/// What only a look at the whole file can tell, such as the order of the steps, is not in it.
pub fn schema() -> Value {
    let definitions: Map<String, Value> =
        PARTS.iter().map(|part| (part.name.to_owned(), object(part))).collect();
    let mut schema = object(&DEFINITION);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Saga definition");
    schema["$defs"] = Value::Object(definitions);
    schema
}

fn object(of: &Object) -> Value {
    let property = |key: &Key| {
        let mut value = kind(&key.kind);
        value["description"] = json!(key.about);
        (key.name.to_owned(), value)
    };
    let properties: Map<String, Value> = of.keys.iter().map(property).collect();
    let required: Vec<&str> =
        of.keys.iter().filter(|key| key.is_required).map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object",
        "description": of.about,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    if !of.one_of.is_empty() {
        let choices = of.one_of.iter().map(|name| json!({"required": [name]}));
        schema["oneOf"] = choices.collect();
    }
    if of.name == STEP.name {
        schema["dependentRequired"] = json!({
            "action": ["compensation"],
            "compensation": ["action"],
            "compensation_timeout": ["compensation"],
            "compensation_retry": ["compensation"],
        });
    }
    schema
}

fn kind(of: &Kind) -> Value {
    match of {
        Kind::Name => json!({"type": "string", "pattern": NAME_PATTERN, "maxLength": 64}),
        Kind::Text => json!({"type": "string"}),
        Kind::Count { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Factor { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
        Kind::Duration => json!({"type": "string", "pattern": DURATION_PATTERN}),
        Kind::Size => json!({"type": "string", "pattern": SIZE_PATTERN}),
        Kind::Word(words) => json!({"enum": words}),
        Kind::Template => json!({}),
        Kind::List(item) => json!({"type": "array", "items": kind(item)}),
        Kind::Map(value) => json!({"type": "object", "additionalProperties": kind(value)}),
        Kind::Object(object) => json!({"$ref": format!("#/$defs/{}", object.name)}),
        Kind::Either(one, other) => json!({"anyOf": [kind(one), kind(other)]}),
    }
}

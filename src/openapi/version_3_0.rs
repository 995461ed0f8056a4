//! Converts a document from OpenAPI 3.1 to 3.0.3, which many generators of clients still need.
//!
//! Everything is converted and nothing is left out: an unsupported field or keyword is an error, so that a test fails.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A part of a document that this module cannot express in OpenAPI 3.0.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` at {place} cannot be converted to OpenAPI 3.0")]
pub struct ConversionError {
    /// The JSON pointer of the object that contains the part.
    place: String,
    name: String,
}

type Result<T> = std::result::Result<T, ConversionError>;
type Members = Map<String, Value>;

/// Returns `document`, which is one of OpenAPI 3.1, in OpenAPI 3.0.3.
pub fn convert(document: Value) -> Result<Value> {
    let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
    let types = schemas.map(|(name, schema)| (format!("#/components/schemas/{name}"), schema["type"].clone()));
    let converter = Converter { types: types.collect() };
    let mut document = converter.object(Object::Document, document, "#")?;
    document["openapi"] = "3.0.3".into();
    Ok(document)
}

/// The kinds of objects in a document that can contain a schema or differ between the versions.
#[derive(Clone, Copy)]
enum Object {
    Document,
    Info,
    License,
    Components,
    PathItem,
    Operation,
    Parameter,
    RequestBody,
    MediaType,
    Response,
    Header,
    Schema,
}

/// The value of a field.
enum Field {
    /// A value that is the same in both versions.
    Same,
    One(Object),
    /// A list or a map of objects.
    Each(Object),
}

/// Returns the value of the field `name` of an object, or `None` if only OpenAPI 3.1 has such a field.
#[expect(clippy::match_same_arms, reason = "the fields of each kind of object stand together")]
fn field(object: Object, name: &str) -> Option<Field> {
    use Field::{Each, One, Same};
    Some(match (object, name) {
        (_, name) if name.starts_with("x-") => Same,
        (Object::Document, "openapi" | "servers" | "tags" | "security" | "externalDocs") => Same,
        (Object::Document, "info") => One(Object::Info),
        (Object::Document, "paths") => Each(Object::PathItem),
        (Object::Document, "components") => One(Object::Components),
        (Object::Info, "title" | "description" | "version" | "contact" | "termsOfService") => Same,
        (Object::Info, "license") => One(Object::License),
        (Object::License, "name" | "identifier" | "url") => Same,
        (Object::Components, "securitySchemes" | "examples") => Same,
        (Object::Components, "schemas") => Each(Object::Schema),
        (Object::Components, "responses") => Each(Object::Response),
        (Object::PathItem, "get" | "put" | "post" | "delete" | "options" | "head" | "patch" | "trace") => {
            One(Object::Operation)
        }
        (
            Object::Operation,
            "tags" | "summary" | "description" | "externalDocs" | "operationId" | "deprecated" | "security",
        ) => Same,
        (Object::Operation, "parameters") => Each(Object::Parameter),
        (Object::Operation, "requestBody") => One(Object::RequestBody),
        (Object::Operation, "responses") => Each(Object::Response),
        (
            Object::Parameter | Object::Header,
            "name" | "in" | "description" | "required" | "deprecated" | "style" | "explode" | "example" | "examples",
        ) => Same,
        (Object::Parameter | Object::Header | Object::MediaType, "schema") => One(Object::Schema),
        (Object::RequestBody, "description" | "required") => Same,
        (Object::RequestBody | Object::Response, "content") => Each(Object::MediaType),
        (Object::MediaType, "example" | "examples" | "encoding") => Same,
        (Object::Response, "description") => Same,
        (Object::Response, "headers") => Each(Object::Header),
        (Object::Schema, name) => return keyword(name),
        _ => return None,
    })
}

/// Returns the value of a schema's keyword, or `None` if it is not supported here.
fn keyword(name: &str) -> Option<Field> {
    Some(match name {
        "$ref" | "type" | "format" | "title" | "description" | "default" | "enum" | "const" | "example"
        | "examples" | "minimum" | "maximum" | "multipleOf" | "minLength" | "maxLength" | "pattern" | "minItems"
        | "maxItems" | "uniqueItems" | "minProperties" | "maxProperties" | "required" | "deprecated" | "readOnly"
        | "writeOnly" | "discriminator" | "propertyNames" => Field::Same,
        "items" | "additionalProperties" | "not" => Field::One(Object::Schema),
        "properties" | "allOf" | "anyOf" | "oneOf" => Field::Each(Object::Schema),
        _ => return None,
    })
}

/// Converts the objects of a document.
struct Converter {
    /// The types of the document's schemas, by the references to them.
    types: BTreeMap<String, Value>,
}

impl Converter {
    fn object(&self, object: Object, value: Value, place: &str) -> Result<Value> {
        let mut members = match (object, value) {
            // Only `additionalProperties` has such a schema.
            (Object::Schema, Value::Bool(value)) if place.ends_with("/additionalProperties") => return Ok(value.into()),
            (_, Value::Object(members)) => members,
            (_, value) => return Err(unsupported(place, &value.to_string())),
        };
        if let (Some(reference), false) = (members.get("$ref"), matches!(object, Object::Schema)) {
            return match members.len() {
                1 => Ok(json!({"$ref": reference})),
                // OpenAPI 3.0 ignores the members beside a reference.
                _ => Err(unsupported(place, "$ref")),
            };
        }
        let is_nullable = matches!(object, Object::Schema) && remove_null(&mut members, place)?;
        let mut converted = Members::new();
        for (name, value) in members {
            let field = field(object, &name).ok_or_else(|| unsupported(place, &name))?;
            let value = self.field(&field, value, &format!("{place}/{}", name.replace('/', "~1")))?;
            converted.insert(name, value);
        }
        match object {
            Object::Schema => self.rewrite_keywords(&mut converted, is_nullable, place)?,
            Object::License => rewrite_license(&mut converted),
            _ => {}
        }
        Ok(converted.into())
    }

    fn field(&self, field: &Field, value: Value, place: &str) -> Result<Value> {
        let inner = |name: &str| format!("{place}/{}", name.replace('/', "~1"));
        match (field, value) {
            (Field::Same, value) => Ok(value),
            (Field::One(object), value) => self.object(*object, value, place),
            (Field::Each(object), Value::Object(members)) => members
                .into_iter()
                .map(|(name, value)| self.object(*object, value, &inner(&name)).map(|value| (name, value)))
                .collect::<Result<Members>>()
                .map(Value::Object),
            (Field::Each(object), Value::Array(items)) => (0..)
                .zip(items)
                .map(|(index, item): (usize, _)| self.object(*object, item, &inner(&index.to_string())))
                .collect::<Result<Vec<_>>>()
                .map(Value::Array),
            (Field::Each(_), value) => Err(unsupported(place, &value.to_string())),
        }
    }

    /// Rewrites the keywords that have another form in OpenAPI 3.0.
    fn rewrite_keywords(&self, schema: &mut Members, is_nullable: bool, place: &str) -> Result<()> {
        if let Some(value) = schema.shift_remove("const") {
            schema.insert("enum".to_owned(), json!([value]));
        }
        if let Some(examples) = schema.shift_remove("examples") {
            match examples.as_array().map(Vec::as_slice) {
                Some([example]) => schema.insert("example".to_owned(), example.clone()),
                _ => return Err(unsupported(place, "examples")),
            };
        }
        // The names of members are always strings.
        match schema.shift_remove("propertyNames") {
            Some(names) if names != json!({"type": "string"}) => return Err(unsupported(place, "propertyNames")),
            _ => {}
        }
        // OpenAPI 3.0 ignores the members beside a reference.
        if schema.contains_key("$ref") && (schema.len() > 1 || is_nullable) {
            let target = schema.shift_remove("$ref").unwrap_or_default();
            if is_nullable {
                // OpenAPI 3.0 ignores `nullable` in a schema without a type.
                let found = target.as_str().and_then(|target| self.types.get(target));
                let target_type = found.filter(|name| name.is_string());
                let target_type = target_type.ok_or_else(|| unsupported(place, "oneOf"))?;
                schema.insert("type".to_owned(), target_type.clone());
            }
            if schema.insert("allOf".to_owned(), json!([{"$ref": target}])).is_some() {
                return Err(unsupported(place, "allOf"));
            }
        }
        if is_nullable {
            schema.insert("nullable".to_owned(), true.into());
        }
        Ok(())
    }
}

/// Removes the type `null` from a schema, and returns whether it was there. A single remaining alternative becomes a
/// part of the schema itself.
fn remove_null(schema: &mut Members, place: &str) -> Result<bool> {
    let null = Value::from("null");
    if schema.get("type") == Some(&null) {
        return Err(unsupported(place, "type"));
    }
    let mut is_nullable = false;
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        is_nullable = types.contains(&null);
        types.retain(|name| *name != null);
        let [only] = types.as_slice() else {
            return Err(unsupported(place, "type"));
        };
        let only = only.clone();
        schema.insert("type".to_owned(), only);
    }
    if let Some(Value::Array(mut alternatives)) = schema.get("oneOf").cloned() {
        let all = alternatives.len();
        alternatives.retain(|alternative| alternative.get("type") != Some(&null));
        if alternatives.len() < all {
            is_nullable = true;
            schema.shift_remove("oneOf");
            let [Value::Object(only)] = alternatives.as_slice() else {
                return Err(unsupported(place, "oneOf"));
            };
            for (name, value) in only {
                if schema.insert(name.clone(), value.clone()).is_some() {
                    return Err(unsupported(place, name));
                }
            }
        }
    }
    Ok(is_nullable)
}

/// Expresses the identifier of a license by its name, because OpenAPI 3.0 has only names and URLs.
fn rewrite_license(license: &mut Members) {
    if let Some(identifier) = license.shift_remove("identifier") {
        license.insert("name".to_owned(), identifier);
    }
}

fn unsupported(place: &str, name: &str) -> ConversionError {
    ConversionError {
        place: place.to_owned(),
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a document with `schema` as the schema of a component.
    fn with_schema(schema: &Value) -> Value {
        let object = json!({"type": "object"});
        json!({"openapi": "3.1.0", "components": {"schemas": {"A": schema, "B": object, "C": {}}}})
    }

    fn converted(schema: &Value) -> Value {
        let document = convert(with_schema(schema)).unwrap();
        assert_eq!(document["openapi"], "3.0.3");
        document["components"]["schemas"]["A"].clone()
    }

    #[test]
    fn null_becomes_nullable() {
        for (schema, expected) in [
            (
                json!({"type": ["string", "null"], "format": "uuid"}),
                json!({"type": "string", "format": "uuid", "nullable": true}),
            ),
            (
                json!({"oneOf": [{"$ref": "#/components/schemas/B", "description": "B."}, {"type": "null"}]}),
                json!({"type": "object", "description": "B.", "allOf": [{"$ref": "#/components/schemas/B"}], "nullable": true}),
            ),
            (
                json!({"items": {"oneOf": [{"type": "null"}, {"type": "string"}]}}),
                json!({"items": {"type": "string", "nullable": true}}),
            ),
            (
                json!({"properties": {"type": {"type": ["integer", "null"]}}}),
                json!({"properties": {"type": {"type": "integer", "nullable": true}}}),
            ),
        ] {
            assert_eq!(converted(&schema), expected);
        }
    }

    #[test]
    fn keywords_with_another_form_are_rewritten() {
        for (schema, expected) in [
            (json!({"const": "Bearer"}), json!({"enum": ["Bearer"]})),
            (json!({"examples": ["a"]}), json!({"example": "a"})),
            (
                json!({"$ref": "#/b", "description": "B."}),
                json!({"description": "B.", "allOf": [{"$ref": "#/b"}]}),
            ),
            (json!({"$ref": "#/b"}), json!({"$ref": "#/b"})),
            (json!({"propertyNames": {"type": "string"}}), json!({})),
            (
                json!({"additionalProperties": false}),
                json!({"additionalProperties": false}),
            ),
        ] {
            assert_eq!(converted(&schema), expected);
        }
        let document = json!({"info": {"license": {"name": "MIT License", "identifier": "MIT"}}});
        assert_eq!(
            convert(document).unwrap()["info"],
            json!({"license": {"name": "MIT"}}),
            "OpenAPI 3.0 has no identifiers"
        );
    }

    #[test]
    fn parts_that_cannot_be_converted_are_errors() {
        for schema in [
            json!({"type": ["string", "integer"]}),
            json!({"type": "null"}),
            json!({"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}),
            json!({"oneOf": [{"description": "B."}, {"type": "null"}], "description": "A."}),
            json!({"oneOf": [{"$ref": "#/components/schemas/C"}, {"type": "null"}]}),
            json!({"$ref": "#/b", "allOf": [{}]}),
            json!({"examples": [1, 2]}),
            json!({"propertyNames": {"pattern": "^a"}}),
            json!({"patternProperties": {"^a": {}}}),
            json!({"exclusiveMinimum": 1}),
            json!({"items": {"contentEncoding": "base64"}}),
            json!({"items": true}),
        ] {
            assert!(convert(with_schema(&schema)).is_err(), "{schema}");
        }
        for document in [
            json!({"webhooks": {}}),
            json!({"info": {"summary": "A."}}),
            json!({"components": {"responses": {"A": {"$ref": "#/b", "description": "B."}}}}),
        ] {
            assert!(convert(document.clone()).is_err(), "{document}");
        }
        let error = convert(with_schema(&json!({"items": {"prefixItems": []}}))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`prefixItems` at #/components/schemas/A/items cannot be converted to OpenAPI 3.0"
        );
    }
}

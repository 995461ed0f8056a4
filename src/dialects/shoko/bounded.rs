//! Limits the number of values in a large JSON text, which could otherwise take a hundred times its size in memory.

use std::cell::Cell;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The maximum number of values: array items, object members and the top-level value.
pub const MAX_VALUES: usize = 1_000;

/// Counts the values in a JSON text, and stops counting beyond [`MAX_VALUES`]. Fails if the text cannot be parsed.
pub fn count_values(text: &str) -> serde_json::Result<usize> {
    let count = Cell::new(0);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match Counter(&count).deserialize(&mut deserializer) {
        Err(_) if count.get() > MAX_VALUES => {}
        counted => counted?,
    }
    Ok(count.get())
}

/// Counts a value and the values in it.
#[derive(Clone, Copy)]
struct Counter<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Counter<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.set(self.0.get() + 1);
        if self.0.get() > MAX_VALUES {
            return Err(D::Error::custom("too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counter<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_key::<IgnoredAny>()?.is_some() {
            members.next_value_seed(self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_and_members_are_counted_at_every_depth() {
        for (text, count) in [
            ("7", 1),
            (r#""a,b""#, 1),
            ("[]", 1),
            ("[1, [2.5, null], true]", 6),
            (r#"{"a": {"b": [-1]}, "c": "x"}"#, 5),
        ] {
            assert_eq!(count_values(text).unwrap(), count, "{text}");
        }
    }

    #[test]
    fn counting_stops_beyond_the_limit() {
        let items = "0,".repeat(100_000);
        assert_eq!(count_values(&format!("[{items}0]")).unwrap(), MAX_VALUES + 1);
        assert!(count_values(&"[".repeat(1_000)).is_err(), "too deep");
    }
}

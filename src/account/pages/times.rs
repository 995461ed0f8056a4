//! Times on pages.

use askama::Template;
use chrono::{NaiveDateTime, SecondsFormat};

use super::texts::Texts;

/// A time: relative to now for reading, and exact on hover and for screen readers. A script keeps it up to date.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<time datetime="{{ machine }}" title="{{ exact }}">{{ relative }}</time><span class="sr"> ({{ exact }})</span>"#
)]
pub struct Moment {
    machine: String,
    exact: String,
    relative: String,
}

/// The template escapes its values.
impl askama::filters::HtmlSafe for Moment {}

impl Moment {
    #[must_use]
    pub fn new(time: NaiveDateTime, now: NaiveDateTime, texts: &Texts) -> Self {
        Self {
            machine: time.and_utc().to_rfc3339_opts(SecondsFormat::Secs, true),
            exact: (texts.exact)(time),
            relative: (texts.relative)(time - now),
        }
    }
}

//! Renders Markdown as HTML.

use std::collections::HashMap;

use pulldown_cmark::html::push_html;
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// The URLs of the files that this server serves, by the paths with which Markdown links to them.
pub type Links = HashMap<String, String>;

/// The id that the page gives to its title.
pub const TITLE_ID: &str = "title";

/// A text with a title.
pub struct Markdown<'a> {
    pub title: String,
    /// The headings of the second level.
    pub sections: Vec<Heading>,
    events: Vec<Event<'a>>,
}

pub struct Heading {
    level: HeadingLevel,
    /// Identifies the heading in the URL of the page.
    pub id: String,
    pub text: String,
}

impl<'a> Markdown<'a> {
    /// Parses a text that begins with its title.
    pub fn parse(text: &'a str) -> Self {
        let mut events: Vec<_> = Parser::new_ext(text, Options::ENABLE_TABLES).collect();
        let mut headings = identify_headings(&mut events).into_iter();
        let title = headings.next().map_or_else(String::new, |title| title.text);
        if let Some(end_of_title) = events.iter().position(is_end_of_heading) {
            events.drain(..=end_of_title);
        }
        Self {
            title,
            sections: headings.filter(|heading| heading.level == HeadingLevel::H2).collect(),
            events,
        }
    }

    /// Returns the text without its title. A link to a file that is not in `links` becomes text.
    pub fn to_html(&self, links: &Links) -> String {
        let mut html = String::new();
        push_html(&mut html, wrap_and_link(&self.events, links).into_iter());
        html
    }
}

/// Gives each heading an id, and returns the headings.
fn identify_headings(events: &mut [Event<'_>]) -> Vec<Heading> {
    let mut headings = Vec::new();
    for position in 0..events.len() {
        let (before, after) = events.split_at_mut(position + 1);
        let Some(Event::Start(Tag::Heading { level, id, .. })) = before.last_mut() else {
            continue;
        };
        let end = after.iter().position(is_end_of_heading);
        let text = text_of(&after[..end.unwrap_or(0)]);
        let heading = Heading {
            level: *level,
            id: id_of(&text),
            text,
        };
        *id = Some(heading.id.clone().into());
        headings.push(heading);
    }
    headings
}

fn is_end_of_heading(event: &Event<'_>) -> bool {
    matches!(event, Event::End(TagEnd::Heading(_)))
}

fn text_of(events: &[Event<'_>]) -> String {
    let part = |event: &Event<'_>| match event {
        Event::Text(text) | Event::Code(text) => Some(text.to_string()),
        _ => None,
    };
    events.iter().filter_map(part).collect()
}

/// Returns the id that GitHub gives to a heading, so that links work there and here.
fn id_of(heading: &str) -> String {
    let hyphenated = heading.to_lowercase().replace(' ', "-");
    let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_');
    hyphenated.chars().filter(is_kept).collect()
}

/// Wraps tables and code, and replaces the targets of links.
fn wrap_and_link<'a>(events: &[Event<'a>], links: &Links) -> Vec<Event<'a>> {
    let mut result = Vec::with_capacity(events.len());
    let (mut section, mut keeps_link) = (TITLE_ID.to_owned(), false);
    for event in events {
        let mut event = event.clone();
        match &mut event {
            Event::Start(Tag::Heading { id: Some(id), .. }) => {
                section = id.to_string();
                result.push(event);
            }
            Event::Start(Tag::Table(_) | Tag::CodeBlock(_)) => result.extend([wrapper(&section), event]),
            Event::End(TagEnd::Table | TagEnd::CodeBlock) => result.extend([event, Event::Html("</div>\n".into())]),
            Event::Start(Tag::Link { dest_url, .. }) => {
                let resolved = resolve(dest_url, links);
                keeps_link = resolved.is_some();
                if let Some(url) = resolved {
                    *dest_url = url.into();
                    result.push(event);
                }
            }
            Event::End(TagEnd::Link) if !keeps_link => {}
            _ => result.push(event),
        }
    }
    result
}

/// Returns the start tag of an element that scrolls a wide table or long lines. The element can be focused, so that the
/// arrow keys scroll it.
fn wrapper(section: &str) -> Event<'static> {
    let html = format!(r#"<div class="wide" role="group" aria-labelledby="{section}" tabindex="0">"#);
    Event::Html(html.into())
}

/// Returns the URL of a link's target, or `None` if this server does not serve the target.
fn resolve(target: &str, links: &Links) -> Option<String> {
    if target.starts_with('#') || target.starts_with("https://") {
        return Some(target.to_owned());
    }
    let (file, fragment) = target.split_at(target.find('#').unwrap_or(target.len()));
    links.get(file).map(|url| format!("{url}{fragment}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> String {
        let links = Links::from([("served.md".to_owned(), "/docs/served".to_owned())]);
        Markdown::parse(text).to_html(&links)
    }

    #[test]
    fn links_lead_to_served_files_to_sections_and_to_other_sites() {
        for (target, url) in [
            ("served.md", "/docs/served"),
            ("served.md#part", "/docs/served#part"),
            ("#part", "#part"),
            ("https://example.org/", "https://example.org/"),
        ] {
            let html = html(&format!("# Title\n\n[text]({target})"));
            assert_eq!(html, format!("<p><a href=\"{url}\">text</a></p>\n"));
        }
    }

    #[test]
    fn links_to_other_files_become_text() {
        assert_eq!(html("# Title\n\nsee [text](other.md#part)."), "<p>see text.</p>\n");
    }

    #[test]
    fn a_text_without_a_title_is_complete() {
        assert_eq!(html("text"), "<p>text</p>\n");
    }
}

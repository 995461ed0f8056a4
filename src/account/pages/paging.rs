//! Lists in pages.

use super::layout::Layout;
use crate::auth::Page;
use crate::web::query::Query;

/// The number of items on a page. Even with the longest names, a page then stays below 60 kB.
const PAGE_SIZE: u32 = 15;
/// The maximum number of a page.
const MAX_PAGE: u32 = 1_000_000;

/// Returns the page that a query selects with `page`, from 1. A number that is not valid selects the first page.
#[must_use]
pub fn page(query: &Query) -> Page {
    let number = query.one("page").ok().flatten().and_then(|text| text.parse().ok());
    let number: u32 = number.filter(|number| (1..=MAX_PAGE).contains(number)).unwrap_or(1);
    Page {
        index: number - 1,
        size: PAGE_SIZE,
    }
}

/// Returns the query that selects a page. Empty for the first one.
#[must_use]
pub fn query(page: Page) -> String {
    match page.index {
        0 => String::new(),
        index => format!("?page={}", index + 1),
    }
}

/// The links to the pages before and after this one.
pub struct Pager {
    /// The query that selects this page.
    pub query: String,
    /// The number of this page and of all pages, as a text.
    pub text: String,
    number: u32,
    last: u32,
    /// The path and the query up to the number of the page.
    link: String,
}

impl Pager {
    /// Creates the links of a list with `total` items on the current page, whose query contains `pairs` as well.
    #[must_use]
    pub fn new(p: &Layout, pairs: &[(&str, &str)], page: Page, total: usize) -> Self {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs);
        let query = query.finish();
        let separator = if query.is_empty() { "" } else { "&" };
        let (number, last) = (page.index + 1, last_page(page, total));
        Self {
            query: self::query(page),
            text: (p.t.frame.page_of)(number, last),
            number,
            last,
            link: format!("{}?{query}{separator}page=", p.path(p.page())),
        }
    }

    /// Returns whether there is a page before or after this one.
    #[must_use]
    pub fn has_several_pages(&self) -> bool {
        self.previous().is_some() || self.next().is_some()
    }

    /// Returns the path and query of the previous page, if there is one.
    #[must_use]
    pub fn previous(&self) -> Option<String> {
        let number = (self.number - 1).min(self.last);
        (number > 0).then(|| format!("{}{number}", self.link))
    }

    /// Returns the path and query of the next page, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        (self.number < self.last).then(|| format!("{}{}", self.link, self.number + 1))
    }
}

/// Returns the number of the last page, from 1.
fn last_page(page: Page, total: usize) -> u32 {
    u32::try_from(total).unwrap_or(u32::MAX).div_ceil(page.size).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_lead_to_the_pages_around_the_current_one() {
        let links = |number: u32, total| {
            let page = Page {
                index: number - 1,
                size: PAGE_SIZE,
            };
            let pager = Pager {
                query: query(page),
                text: String::new(),
                number,
                last: last_page(page, total),
                link: "/users?page=".to_owned(),
            };
            (pager.previous(), pager.next())
        };
        let link = |number| Some(format!("/users?page={number}"));
        assert_eq!(links(1, 0), (None, None));
        assert_eq!(links(1, 16), (None, link(2)));
        assert_eq!(links(2, 31), (link(1), link(3)));
        assert_eq!(links(2, 30), (link(1), None));
        assert_eq!(links(9, 30), (link(2), None), "items may have been deleted");
    }
}

//! The options that the operator adds to the address of a route in the proxy's configuration.

use utoipa::IntoParams;

use super::original::Original;
use crate::web::query::Query;

/// The options with which the operator restricts or permits requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `require=admin`: only administrators pass.
    pub requires_admin: bool,
    /// `preflight=allow`: preflights pass without a key.
    pub allows_preflight: bool,
    /// `challenge=basic`: the challenge in a 401 is for HTTP Basic.
    pub challenges_basic: bool,
}

/// The options in the document. [`Options::of`] reads them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OptionParameters {
    /// `admin`: only administrators pass.
    pub require: Option<String>,
    /// `allow`: preflights pass without a key.
    pub preflight: Option<String>,
    /// `basic`: the challenge in a 401 is for HTTP Basic.
    pub challenge: Option<String>,
}

/// An option that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an option of this route. Use require=admin, preflight=allow or challenge=basic.")]
pub struct OptionsError(String);

impl Options {
    /// Reads the options in the query of a request to a route.
    ///
    /// Some proxies add the query of the original request to the address if its configuration contains none: then the
    /// client has chosen these parameters. A parameter that is also in the original query therefore cannot allow
    /// anything, and is not reported as an unknown option.
    pub fn of(query: &str, original: &Original) -> Result<Self, OptionsError> {
        let (own, original) = (
            Query::parse(query),
            Query::parse(original.url.query().unwrap_or_default()),
        );
        let mut options = Self::default();
        for (name, value) in own.pairs() {
            options.add(name, value, original.all(name).next().is_some())?;
        }
        Ok(options)
    }

    /// Reads options that are separated by semicolons.
    pub fn of_list(list: &str) -> Result<Self, OptionsError> {
        let mut options = Self::default();
        for option in list.split(';').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            options.add(name, value, false)?;
        }
        Ok(options)
    }

    fn add(&mut self, name: &str, value: &str, is_of_client: bool) -> Result<(), OptionsError> {
        match (name, value) {
            ("require", "admin") => self.requires_admin = true,
            ("challenge", "basic") => self.challenges_basic = true,
            ("preflight", "allow") if !is_of_client => self.allows_preflight = true,
            _ if is_of_client => {}
            _ => return Err(OptionsError(format!("{name}={value}").chars().take(100).collect())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::original::SignIn;

    fn options(query: &str, original: &str) -> Result<Options, OptionsError> {
        let url = format!("https://a.example/?{original}").parse().unwrap();
        let (method, sign_in) = ("GET".to_owned(), SignIn::Redirect);
        Options::of(query, &Original { method, url, sign_in })
    }

    #[test]
    fn the_operator_chooses_the_options() {
        let all = options("require=admin&preflight=allow&challenge=basic", "x=y").unwrap();
        assert!(all.requires_admin && all.allows_preflight && all.challenges_basic);
        assert_eq!(options("", ""), Ok(Options::default()));
        assert_eq!(
            Options::of_list("require=admin;preflight=allow;challenge=basic"),
            Ok(all)
        );
        assert!(Options::of_list("preflight").is_err());
    }

    #[test]
    fn a_misspelled_option_is_an_error() {
        for query in [
            "require=admins",
            "requires=admin",
            "preflight=yes",
            "require",
            "Require=admin",
            "x=1",
        ] {
            assert!(options(query, "").is_err(), "{query}");
        }
    }

    #[test]
    fn a_query_that_the_proxy_copied_from_the_client_allows_nothing() {
        for query in [
            "preflight=allow",
            "preflight=allow&x",
            "%70reflight=allow",
            "x=1&apikey=2",
        ] {
            assert_eq!(options(query, query), Ok(Options::default()), "{query}");
        }
        assert_eq!(options("preflight=allow", "PREFLIGHT=x"), Ok(Options::default()));
    }

    #[test]
    fn a_client_cannot_remove_a_requirement() {
        assert!(options("require=admin", "require=admin").unwrap().requires_admin);
        assert!(options("require=admin", "require=").unwrap().requires_admin);
    }
}

//! URLs of PostgreSQL databases in all forms that libpq documents, and some that it does not.

use std::fmt;
use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::database::DatabaseUrlError as Error;
use super::postgres_keywords::KEYWORDS;

/// The characters to percent-encode in the name of a database.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

/// Whether this build can encrypt connections to PostgreSQL.
pub const TLS_IS_BUILT_IN: bool = cfg!(feature = "postgres-tls");

/// The parameters of a connection to PostgreSQL, which may include a password.
///
/// The URL is parsed here, and libpq gets its parts. libpq would split a URL with special characters in the password at
/// another place, and quote the rest in an error. It would also reject URLs that are clear enough.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// Names and values. A later parameter overrides an earlier one of the same name.
    parameters: Vec<(String, String)>,
}

impl PostgresUrl {
    /// Parses what follows `postgres://`:
    /// `[user[:password]@][host[:port][,host[:port]…]][/database][?name=value[&name=value…]]`.
    ///
    /// The user and the password end at the last `@` before the query, so the password may contain `@`, `/`, `:`, `?`
    /// and `#` without percent-encoding.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if !is_percent_encoded(text) {
            return Err(Error::BadPercentEncoding);
        }
        let user_end = text[..query_start(text)].rfind('@');
        let (user, place) = match user_end {
            Some(at) => (Some(&text[..at]), &text[at + 1..]),
            None => (None, text),
        };
        if user.is_some_and(|user| user.contains('/') && !user.contains(':')) {
            return Err(Error::AmbiguousAt);
        }
        let (place, query) = place.split_once('?').unwrap_or((place, ""));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let mut url = Self { parameters: Vec::new() };
        let (user, password) = user
            .and_then(|user| user.split_once(':'))
            .unwrap_or((user.unwrap_or(""), ""));
        url.set("user", user)?;
        url.set("password", password)?;
        url.set_hosts(hosts)?;
        url.set("dbname", database)?;
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or(Error::ParameterWithoutValue)?;
            match (name, value) {
                ("ssl", "true") => url.set("sslmode", "require")?,
                (name, value) if KEYWORDS.contains(&name) => url.set(name, value)?,
                _ => return Err(Error::UnknownParameter),
            }
        }
        Ok(url)
    }

    /// Adds a parameter with a percent-encoded value. An empty value counts as absent.
    fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let decoded = percent_decode_str(value).decode_utf8();
        let value = decoded.map_err(|_| Error::BadPercentEncoding)?;
        if value.contains('\0') {
            return Err(Error::BadPercentEncoding);
        }
        if name == "target_session_attrs" && ["standby", "read-only"].contains(&&*value) {
            return Err(Error::OnlyStandbys);
        }
        if !value.is_empty() {
            self.parameters.push((name.to_owned(), value.into_owned()));
        }
        Ok(())
    }

    fn set_hosts(&mut self, hosts: &str) -> Result<(), Error> {
        let (mut names, mut ports) = (Vec::new(), Vec::new());
        for host in hosts.split(',') {
            let (name, port) = match host.strip_prefix('[') {
                Some(rest) => {
                    let (address, port) = rest.split_once(']').ok_or(Error::BadHost)?;
                    (address, port.strip_prefix(':').or(port.is_empty().then_some("")))
                }
                None => match host.split_once(':') {
                    Some((name, port)) => (name, Some(port)),
                    None => (host, Some("")),
                },
            };
            let port = port.filter(|port| port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0));
            if name.contains(|c: char| c.is_whitespace() || c == '#') {
                return Err(Error::BadHost);
            }
            names.push(name);
            ports.push(port.ok_or(Error::BadPort)?);
        }
        let has_any = |texts: &[&str]| texts.iter().any(|text| !text.is_empty());
        if has_any(&names) {
            self.set("host", &names.join(","))?;
        }
        if has_any(&ports) {
            self.set("port", &ports.join(","))?;
        }
        Ok(())
    }

    /// Returns the parameters as libpq's key/value text. The defaults come first, so that the URL overrides them.
    #[must_use]
    pub fn connection_text(&self, defaults: &[(&str, &str)]) -> String {
        let defaults = defaults.iter().copied();
        let own = self
            .parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let quoted = defaults.chain(own).map(|(name, value)| {
            let value = value.replace('\\', r"\\").replace('\'', r"\'");
            format!("{name}='{value}'")
        });
        quoted.collect::<Vec<_>>().join(" ")
    }

    /// Returns a URL for each of the servers, in their order. Returns this URL alone if it has one server, if its lists
    /// do not have the same length, or if the environment or a service file names the servers.
    #[must_use]
    pub fn each_server(&self) -> Vec<Self> {
        let lists = ["host", "hostaddr", "port"].map(|name| {
            let values: Vec<_> = self.get(name).split(',').map(str::to_owned).collect();
            (name, values)
        });
        let count = lists.iter().map(|(_, values)| values.len()).max().unwrap_or(1);
        let is_list = |name: &str, values: &[String]| match values {
            [value] => value.is_empty() || name == "port",
            values => values.len() == count,
        };
        if count == 1 || !lists.iter().all(|(name, values)| is_list(name, values)) {
            return vec![self.clone()];
        }
        let server = |index: usize| {
            let mut url = self.clone();
            for (name, values) in &lists {
                if let Some(value) = values.get(index) {
                    url.parameters.push(((*name).to_owned(), value.clone()));
                }
            }
            url
        };
        (0..count).map(server).collect()
    }

    /// Returns whether all servers are on this machine, or `None` if some are or the URL does not say where they are.
    #[must_use]
    pub fn is_local(&self) -> Option<bool> {
        let addresses = [self.get("hostaddr"), self.get("host")];
        let hosts = addresses.into_iter().find(|hosts| !hosts.is_empty())?;
        let mut hosts = hosts.split(',').map(is_local_host);
        let first = hosts.next()?;
        hosts.all(|host| host == first).then_some(first)
    }

    /// Returns whether libpq connects only with TLS.
    #[must_use]
    pub fn requires_tls(&self) -> bool {
        matches!(self.get("sslmode"), "require" | "verify-ca" | "verify-full")
    }

    fn get(&self, name: &str) -> &str {
        let mut values = self.parameters.iter().rev();
        values.find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// Returns where the query begins if it contains an `@`, or the end of the text. A question mark before an `@` belongs to
/// the password unless the name of a parameter follows it.
fn query_start(text: &str) -> usize {
    let is_parameter = |rest: &str| rest.split_once('=').is_some_and(|(name, _)| KEYWORDS.contains(&name));
    let starts = text.match_indices('?').map(|(at, _)| at);
    let mut queries = starts.filter(|at| is_parameter(&text[at + 1..]));
    queries.next().unwrap_or(text.len())
}

/// Returns whether a host of libpq is on this machine. A path is a socket, and so is an empty host or one that begins with
/// `@`.
fn is_local_host(host: &str) -> bool {
    let is_socket = host.is_empty() || host.starts_with(['/', '@']);
    let address = host.parse::<IpAddr>();
    is_socket || host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Returns whether every percent sign begins an encoded byte.
fn is_percent_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|part| {
        let mut digits = part.bytes().take(2);
        part.len() >= 2 && digits.all(|digit| digit.is_ascii_hexdigit())
    })
}

/// Shows hosts, ports and database, but no user, password or other parameter, because logs must not contain them.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.get("host").is_empty() {
            "hostaddr"
        } else {
            "host"
        };
        let mut ports = self.get("port").split(',');
        f.write_str("postgres://")?;
        for (index, host) in self.get(host).split(',').enumerate() {
            let separator = if index == 0 { "" } else { "," };
            if host.contains(':') {
                write!(f, "{separator}[{host}]")?;
            } else {
                write!(f, "{separator}{}", host.replace('/', "%2F"))?;
            }
            if let Some(port) = ports.next().filter(|port| !port.is_empty()) {
                write!(f, ":{port}")?;
            }
        }
        match self.get("dbname") {
            "" => Ok(()),
            name => write!(f, "/{}", utf8_percent_encode(name, ENCODED)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_says_whether_the_servers_are_on_this_machine() {
        for (url, is_local) in [
            ("me@127.0.0.1/auth", Some(true)),
            ("me@127.1.2.3:5433/auth", Some(true)),
            ("me@[::1]/auth", Some(true)),
            ("me@[::ffff:127.0.0.1]/auth", Some(true)),
            ("me@localhost/auth", Some(true)),
            ("me@%2Frun%2Fpostgresql/auth", Some(true)),
            ("me@/auth?host=/run/postgresql", Some(true)),
            ("me@/auth?host=@pg", Some(true)),
            ("me@db.example/auth", Some(false)),
            ("me@localhost.example/auth", Some(false)),
            ("me@192.0.2.1/auth", Some(false)),
            ("me@[2001:db8::1],10.0.0.1/auth", Some(false)),
            ("me@localhost/auth?hostaddr=192.0.2.1", Some(false)),
            ("me@db.example/auth?hostaddr=127.0.0.1", Some(true)),
            ("me@localhost,db.example/auth", None),
            ("/auth?service=auth", None),
            ("", None),
        ] {
            assert_eq!(PostgresUrl::parse(url).unwrap().is_local(), is_local, "{url}");
        }
    }

    #[test]
    fn a_url_with_several_servers_is_split_into_one_for_each() {
        for (url, servers) in [
            ("me@a/auth", &[("a", "", "")][..]),
            ("me@a:1,b:2/auth", &[("a", "", "1"), ("b", "", "2")]),
            ("me@a,b:2/auth", &[("a", "", ""), ("b", "", "2")]),
            ("me@a,b/auth?port=6432", &[("a", "", "6432"), ("b", "", "6432")]),
            (
                "/auth?host=/run/a,/run/b&port=1,2",
                &[("/run/a", "", "1"), ("/run/b", "", "2")],
            ),
            (
                "a,b/auth?hostaddr=192.0.2.1,192.0.2.2",
                &[("a", "192.0.2.1", ""), ("b", "192.0.2.2", "")],
            ),
            // libpq rejects these lists and says why.
            ("a,b/auth?port=1,2,3", &[("a,b", "", "1,2,3")]),
            (
                "a/auth?hostaddr=192.0.2.1,192.0.2.2",
                &[("a", "192.0.2.1,192.0.2.2", "")],
            ),
            ("", &[("", "", "")]),
        ] {
            let split = PostgresUrl::parse(url).unwrap().each_server();
            let split: Vec<_> = split
                .iter()
                .map(|url| (url.get("host"), url.get("hostaddr"), url.get("port")))
                .collect();
            assert_eq!(split, servers, "{url}");
        }
    }

    #[test]
    fn only_some_modes_always_encrypt() {
        for (mode, requires_tls) in [
            ("disable", false),
            ("allow", false),
            ("prefer", false),
            ("require", true),
            ("verify-ca", true),
            ("verify-full", true),
        ] {
            let url = PostgresUrl::parse(&format!("db.example/auth?sslmode={mode}")).unwrap();
            assert_eq!(url.requires_tls(), requires_tls, "{mode}");
        }
        assert!(!PostgresUrl::parse("db.example/auth").unwrap().requires_tls());
    }
}

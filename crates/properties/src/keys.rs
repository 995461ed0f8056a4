//! Keys in requests. The first line of an input is a path with a query. The other lines are headers.

use actix_web::http::Uri;
use actix_web::http::header::{HeaderName, HeaderValue};
use shoko_auth::secret::key::Key;
use shoko_auth::web::caller::standard_keys;
use shoko_auth::web::query::Query;

use super::request::{Headers, headers, request};

/// The maximum number of keys in one request. Further keys are ignored.
const MAX_KEYS: usize = 4;
const APIKEY: HeaderName = HeaderName::from_static("apikey");
const NEW: &str = "00112233-4455-6677-8899-aabbccddeeff";

/// Checks one request.
pub fn check(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let uri = lines.next().and_then(|line| Uri::try_from(line.trim_ascii()).ok());
    let Some(uri) = uri else { return };
    let sample = Sample {
        query: uri.query().unwrap_or_default().to_owned(),
        headers: headers(lines),
    };
    let keys = sample.keys();
    assert!(keys.len() <= MAX_KEYS);
    keys.iter().for_each(check_spellings);
    sample.texts().for_each(|text| check_other_texts(&text));
    check_order(&sample, &keys);
    check_case(&sample, &keys);
}

struct Sample {
    query: String,
    headers: Headers,
}

impl Sample {
    fn keys(&self) -> Vec<Key> {
        let request = request(&self.headers)
            .uri(&format!("/?{}", self.query))
            .to_http_request();
        standard_keys(&request).unwrap_or_default().into_vec()
    }

    /// Returns all texts that could be keys.
    fn texts(&self) -> impl Iterator<Item = String> {
        let values = self.headers.iter().filter_map(|(_, value)| value.to_str().ok());
        let query = Query::parse(&self.query);
        let pairs: Vec<String> = query.pairs().map(|(_, value)| value.to_owned()).collect();
        values.map(ToOwned::to_owned).chain(pairs)
    }
}

/// Returns the key in each of .NET's GUID formats, in the order B, P, N, D, X.
fn spellings(key: &Key) -> [String; 5] {
    let (plain, dashed) = (key.expose_plain(), key.expose());
    let bytes: Vec<String> = (16..32)
        .step_by(2)
        .map(|at| format!("0x{}", &plain[at..at + 2]))
        .collect();
    let (a, b, c) = (&plain[..8], &plain[8..12], &plain[12..16]);
    let groups = format!("{{0x{a},0x{b},0x{c},{{{}}}}}", bytes.join(","));
    [format!("{{{dashed}}}"), format!("({dashed})"), plain, dashed, groups]
}

fn check_spellings(key: &Key) {
    for spelling in spellings(key) {
        for text in [&spelling, &spelling.to_uppercase(), &format!(" {spelling}\t")] {
            assert!(Key::parse(text).as_ref() == Some(key), "{text}");
        }
        let alone = Sample {
            query: String::new(),
            headers: vec![(APIKEY, HeaderValue::from_str(&spelling).unwrap())],
        };
        assert!(alone.keys() == [key.clone()], "{spelling}");
    }
}

fn check_other_texts(text: &str) {
    let Some(key) = Key::parse(text) else { return };
    let text = text.trim().to_ascii_lowercase();
    let [.., groups] = spellings(&key);
    // The format X allows a group without its leading zeros.
    let short = |text: &str| {
        let groups = text.split("0x").map(|group| match group.trim_start_matches('0') {
            rest if rest.starts_with(|c: char| c.is_ascii_hexdigit()) || rest == group => rest.to_owned(),
            rest => format!("0{rest}"),
        });
        groups.collect::<Vec<_>>().join("0x")
    };
    assert!(
        spellings(&key).contains(&text) || short(&groups) == short(&text),
        "{text} was read as {}",
        key.expose()
    );
}

/// Checks that keys in headers come before keys in the query, and that keys after the fourth are ignored.
fn check_order(sample: &Sample, keys: &[Key]) {
    let new = Key::parse(NEW).unwrap();
    let mut in_front = vec![(APIKEY, HeaderValue::from_static(NEW))];
    in_front.extend(sample.headers.iter().cloned());
    let first = Sample {
        query: sample.query.clone(),
        headers: in_front,
    };
    let expected = [std::slice::from_ref(&new), &keys[..keys.len().min(MAX_KEYS - 1)]].concat();
    assert!(first.keys() == expected, "with a new key in the first header");

    let last = Sample {
        query: format!("{}&ApiKey={NEW}", sample.query),
        headers: sample.headers.clone(),
    };
    let mut expected = keys.to_vec();
    expected.push(new);
    expected.truncate(MAX_KEYS);
    assert!(last.keys() == expected, "with a new key at the end of the query");
}

fn check_case(sample: &Sample, keys: &[Key]) {
    let upper = |(name, value): &(HeaderName, HeaderValue)| {
        let value = HeaderValue::from_bytes(&value.as_bytes().to_ascii_uppercase());
        (name.clone(), value.unwrap())
    };
    let upper = Sample {
        query: sample.query.to_ascii_uppercase(),
        headers: sample.headers.iter().map(upper).collect(),
    };
    assert!(upper.keys() == keys, "a key in upper case is the same key");
}

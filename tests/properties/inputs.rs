//! Generates near-valid inputs for the properties.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Generates texts with `valid`. Adds or removes one character in about a third of them.
fn nearly(valid: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let change = prop_oneof![2 => Just(None), 1 => any::<(Index, Option<char>)>().prop_map(Some)];
    (valid, change).prop_map(|(valid, change)| {
        let Some((at, added)) = change else { return valid };
        let mut chars: Vec<char> = valid.chars().collect();
        let at = at.index(chars.len() + 1);
        match added {
            Some(c) => chars.insert(at, c),
            None => drop(chars.drain(at..(at + 1).min(chars.len()))),
        }
        chars.into_iter().collect()
    })
}

/// Generates texts that consist of up to `max` parts with `separator` between them.
fn joined(part: impl Strategy<Value = String>, max: usize, separator: &'static str) -> impl Strategy<Value = String> {
    vec(part, 0..=max).prop_map(move |parts| parts.join(separator))
}

pub fn body() -> impl Strategy<Value = String> {
    let string = r#"" ?([a-zé"]|\\u00e4|\\"|\\n|\\ud83d\\ude00|\\ud800){0,6}""#.replace(r#"[a-zé"]"#, "[a-zé]");
    let scalar =
        || format!(r"({string}|-?(0|[1-9][0-9]{{0,3}})(\.[0-9]{{1,3}})?([eE][+-]?[0-9]{{1,3}})?|true|false|null)");
    let value = format!(r"({0}|\[({0}(,{0})?)?\]|\{{\}})", scalar());
    let name = r#""([uU]ser|USER|pass|PASS|[dD]evice|[rR]evokeAPIKeys|revokeapikeys|more|[a-z]{1,3})""#;
    let member = string_from(&format!(r"[ \n]?{name} ?: ?{value} ?"));
    let sound = string_from(&format!(r#""(user|pass|device)":{}"#, scalar()));
    let members = joined(prop_oneof![member, sound], 6, ",");
    let object = members.prop_map(|members| format!("{{{members}}}"));
    let form = string_from("([a-z]{1,4}=([a-z +]|%[0-9a-f]{2}){0,5}&?){0,4}");
    nearly(prop_oneof![3 => object, 1 => string_from(&scalar()), 1 => form])
}

pub fn duration() -> impl Strategy<Value = String> {
    let unit = "(ns|us|ms|s|sec|m|min|h|hours|d|days|w|weeks|M|months|y|years)";
    let date = "[0-9]{4}-(0[1-9]|1[0-2])-[0-3][0-9]";
    let time = r"[0-2][0-9]:[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?";
    nearly(prop_oneof![
        string_from(&format!(r"([0-9]{{1,4}}(\.[0-9]{{1,3}})? ?{unit} ?){{1,3}}")),
        string_from(" ?[0-9]{1,12}[mhd]"),
        string_from("-?P([0-9]{1,3}[YMWD]){0,3}(T([0-9]{1,4}[HMS]){1,2})?"),
        string_from(&format!(r"{date}([T ]{time}(Z|[+-][0-1][0-9]:?[0-5][0-9])?)?")),
    ])
}

pub fn forwarded() -> impl Strategy<Value = String> {
    let address = r"(10\.0\.0\.[1-9]|192\.0\.2\.[1-9]|fd00::[1-9]|2001:db8::[1-9]|::ffff:10\.0\.0\.[1-9])";
    let route = string_from(&format!(
        r"(10\.0\.0\.1|fd00::1|{address}) 10\.0\.0\.0/8( fd00::/8)?( ::/0)?"
    ));
    let hop = format!(r"({address}(:[0-9]{{1,4}})?|\[{address}\](:80)?|unknown|)");
    let hops = format!("({hop}, ?){{0,3}}{hop}");
    let node = format!(r#"("\[?{address}\]?(:[0-9]{{2}})?"|{address}|_hidden|unknown)"#);
    let pair = format!(r#"([fF]or={node}|proto=https?|by={node}|host="a[,;]?b")"#);
    let element = format!("{pair}(; ?{pair}){{0,2}}");
    let line = prop_oneof![
        3 => string_from(&format!("X-Forwarded-For: {hops}")),
        2 => string_from(&format!("forwarded: {element}(, ?{element}){{0,2}}")),
    ];
    let spoofed = string_from(&format!(
        r#"({hops}|[a,;]{{0,2}}{element}|[for=",;\[\]:. 0-9]{{0,12}})"#
    ));
    nearly(
        (route, spoofed, joined(line, 3, "\n")).prop_map(|(route, spoofed, lines)| [route, spoofed, lines].join("\n")),
    )
}

pub fn keys() -> impl Strategy<Value = String> {
    let (bytes, group) = ("(0[xX][0-9a-f]{1,2},){7}0x[0-9A-F]{1,2}", "0x[0-9a-fA-F]{1,4}");
    let dashed = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-fA-F]{12}";
    let groups = format!(r"\{{0x[0-9a-f]{{1,8}},{group},{group},\{{{bytes}\}}\}}");
    let key = format!(
        r"([0-9a-fA-F]{{32}}|\({dashed}\)|\{{{dashed}\}}|\(?\{{?{dashed}\}}?\)?|{groups}|urn:uuid:{dashed}|none|)"
    );
    // Braces in a query must be percent-encoded.
    let pair = string_from(&format!("([aA]pi[kK]ey|more)={key}"));
    let query = joined(pair, 3, "&").prop_map(|query| query.replace('{', "%7b").replace('}', "%7D"));
    let line = string_from(&format!(
        "(apikey: |ApiKey:|[aA]uthorization: ?([bB]earer|Basic) ){key}"
    ));
    nearly((query, joined(line, 4, "\n")).prop_map(|(query, lines)| format!("/api/auth?{query}\n{lines}")))
}

pub fn password_hash() -> impl Strategy<Value = String> {
    let salt = "[a-zA-Z0-9+/]{11,30}";
    let phc = format!(
        r"(\$shoko-sha512)?\$(pbkdf2-sha256|pbkdf2-sha512|argon2id)(\$v=1)?\$(i=[0-9]{{3,5}})?(,?l=[0-9]{{2}})?\${salt}(\$[a-zA-Z0-9+/]{{43}})?"
    );
    let usual = format!(
        r"(\$shoko-sha512)?\$pbkdf2-sha256\$i=[1-9][0-9]{{3,8}},l=32\${}\$[a-zA-Z0-9+/]{{42}}[AEIMQUYcgkosw048]",
        "[a-zA-Z0-9+/]{21}[AQgw]"
    );
    let stored = prop_oneof![string_from(&phc), string_from(&usual), Just("!".to_owned())];
    let stored = (string_from(r"\PC{0,10}"), stored).prop_map(|(password, stored)| format!("{password}\n{stored}"));
    prop_oneof![3 => nearly(stored), 1 => nearly(string_from(r" ?\PC{0,12} ?"))]
}

fn string_from(regex: &str) -> impl Strategy<Value = String> + use<> {
    proptest::string::string_regex(regex).expect("a regular expression")
}

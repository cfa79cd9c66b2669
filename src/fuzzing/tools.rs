//! Header fields that repeat a tool's arguments.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::input::Input;
use super::json;
use crate::protocol::tool_headers::ToolHeaders;

/// A call whose fields say what its arguments say passes, and one in which a field is missing, added or says something else does
/// not. No list of tools and no arguments, whatever they hold, end in anything but an answer.
pub fn tool_headers(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let params: Vec<Param> = (0..1 + input.below(6)).map(|number| Param::spelled(number, &mut input)).collect();
    let mut tools = ToolHeaders::new();
    let page = page(&params);
    assert_eq!(tools.add_page(page.as_bytes()), Ok(None), "{page}");
    assert!(tools.knows("t") && !tools.knows("u"));
    let arguments = arguments(&params);
    let mut headers: HeaderMap = params.iter().filter_map(Param::field).collect();
    headers.insert("mcp-param-unknown", HeaderValue::from_static("x"));
    let check = |headers: &HeaderMap| tools.check("t", Some(arguments.as_bytes()), headers);
    assert_eq!(check(&headers), Ok(()), "{page} {arguments}");
    assert_eq!(tools.check("u", Some(arguments.as_bytes()), &headers), Ok(()), "nothing is known of it");
    let chosen = &params[input.below(params.len())];
    let mut changed = headers.clone();
    match changed.remove(&chosen.header) {
        Some(field) => {
            assert!(check(&changed).is_err(), "{} is missing", chosen.header);
            // Both ways to write it.
            let other = "=?base64?c29tZXRoaW5nIGVsc2U=?=";
            let says_other = field == "something else" || field == other;
            let mut twice = headers.clone();
            twice.append(&chosen.header, field);
            assert!(check(&twice).is_err(), "{} stands twice", chosen.header);
            changed.insert(&chosen.header, HeaderValue::from_static(other));
            assert_eq!(check(&changed).is_ok(), says_other, "{} says something else", chosen.header);
        }
        None => {
            changed.insert(&chosen.header, HeaderValue::from_static("null"));
            assert!(check(&changed).is_err(), "{} has no value", chosen.header);
        }
    }
    arbitrary(&mut tools, input.piece(), input.rest(), &headers);
}

/// Any page, and any arguments to the tools that are known by then.
fn arbitrary(tools: &mut ToolHeaders, page: &[u8], arguments: &[u8], headers: &HeaderMap) {
    // A line of a child is read only if it is UTF-8.
    if std::str::from_utf8(page).is_err() {
        return;
    }
    let added = tools.add_page(page);
    if let Ok(Some(cursor)) = &added {
        assert!(json::value(cursor).is_some_and(|cursor| cursor.starts_with(b"\"")), "a cursor is a string");
    }
    let listed = json::value(page).filter(|page| json::depth(page) <= json::DEPTH).and_then(|page| json::member(page, "tools"));
    assert!(added.is_err() || json::value(page).is_none() || listed.is_some(), "a page has tools");
    for tool in ["t", "a", ""] {
        let _ = tools.check(tool, Some(arguments), headers);
        let _ = tools.check(tool, None, headers);
    }
}

/// An argument that is repeated in a field.
struct Param {
    /// The names on the way to it.
    path: Vec<String>,
    header: HeaderName,
    kind: &'static str,
    /// The value in the arguments, JSON, and the text that the field has.
    value: Option<(String, String)>,
}

impl Param {
    fn spelled(number: usize, input: &mut Input<'_>) -> Param {
        let path = (0..input.below(3)).map(|at| format!("p{number}-{at}")).chain([format!("v{number}")]).collect();
        let header = HeaderName::try_from(format!("mcp-param-h{number}")).expect("a name");
        let choice = input.below(8);
        let (kind, value) = match choice {
            0 | 1 => ("string", None),
            2 | 3 => {
                let text = String::from_utf8_lossy(input.piece()).into_owned();
                ("string", Some((serde_json::Value::from(text.as_str()).to_string(), text)))
            }
            4 => ("boolean", Some(("true".to_owned(), "true".to_owned()))),
            5 => ("integer", None),
            _ => {
                let number = input.number() as i64 | 1;
                let zeros = "0".repeat(input.below(4));
                let shown = if input.flag() { format!("{number}.0{zeros}") } else { format!("{number}{zeros}e-{}", zeros.len()) };
                ("integer", Some((number.to_string(), shown)))
            }
        };
        Param { path, header, kind, value }
    }

    fn field(&self) -> Option<(HeaderName, HeaderValue)> {
        use base64::Engine;
        let (_, text) = self.value.as_ref()?;
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        let value = HeaderValue::from_str(&format!("=?base64?{encoded}?=")).expect("ASCII");
        Some((self.header.clone(), value))
    }
}

/// A list of one tool, `t`, that wants these.
fn page(params: &[Param]) -> String {
    let properties = params.iter().map(|Param { path, header, kind, .. }| {
        let name = header.as_str().trim_start_matches("mcp-param-");
        let leaf = format!(r#"{{"type":"{kind}","x-mcp-header":"{name}"}}"#);
        let inner = path[1..]
            .iter()
            .rev()
            .fold(leaf, |schema, name| format!(r#"{{"type":"object","properties":{{"{name}":{schema}}}}}"#));
        format!(r#""{}":{inner}"#, path[0])
    });
    let properties = properties.collect::<Vec<_>>().join(",");
    format!(r#"{{"tools":[{{"name":"t","inputSchema":{{"type":"object","properties":{{{properties}}}}}}}]}}"#)
}

fn arguments(params: &[Param]) -> String {
    let members = params.iter().filter_map(|param| {
        let (value, _) = param.value.as_ref()?;
        let inner = param.path[1..].iter().rev().fold(value.clone(), |value, name| format!(r#"{{"{name}":{value}}}"#));
        Some(format!(r#""{}":{inner}"#, param.path[0]))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

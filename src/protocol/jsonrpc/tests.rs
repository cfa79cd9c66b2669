use super::*;
use proptest::prelude::*;

fn envelope(text: &str) -> Envelope {
    read(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault:?}"))
}

fn at(text: &str, span: Option<Span>) -> &str {
    span.map_or("", |span| &text[span.range()])
}

#[test]
fn members_are_found_in_any_order() {
    let text = r#"{"params":{"name":"x","_meta":{"a":[{}],"progressToken":"t"}},"id":18446744073709551616,"method":"tools/call","jsonrpc":"2.0"}"#;
    let read = envelope(text);
    assert_eq!((read.kind, at(text, read.id), at(text, read.asked_token)), (Kind::Request, "18446744073709551616", "\"t\""));
    let text = r#"{"result":{"id":1,"method":"no"},"jsonrpc":"2.0","id":7}"#;
    let read = envelope(text);
    assert_eq!((read.kind, at(text, read.id), at(text, read.result)), (Kind::Answer, "7", r#"{"id":1,"method":"no"}"#));
}

#[test]
fn ids_are_strings_or_integers() {
    for (id, good) in [
        ("1", true),
        ("-5", true),
        ("\"\"", true),
        ("\"_GET_stream\"", true),
        ("\"\\u0000\"", true),
        ("123456789012345678901234567890", true),
        ("1.0", false),
        ("1e3", false),
        ("null", false),
        ("true", false),
        ("[1]", false),
        ("{}", false),
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        assert_eq!(read(text.as_bytes()).is_ok(), good, "{text}");
    }
    let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(MAX_ID - 1));
    assert!(matches!(read(long.as_bytes()), Err(Unreadable::Shape(..))));
}

#[test]
fn a_message_that_is_not_json_rpc_is_refused_by_its_shape() {
    for text in [
        "1",
        "\"a\"",
        "{}",
        r#"{"a":1}"#,
        r#"{"id":1,"method":"m"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":5}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","result":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":3}"#,
        r#"{"jsonrpc":"2.0","result":1}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":1}"#,
        r#"{"jsonrpc":"2.0","method":"m","params":[1]}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","method":"m","\u006dethod":"n"}"#,
        r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{},"_meta":{}}}"#,
        r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{"progressToken":1,"progressToken":2}}}"#,
    ] {
        assert!(matches!(read(text.as_bytes()), Err(Unreadable::Shape(..))), "{text}");
    }
    assert!(matches!(read(b"[]"), Err(Unreadable::Batch)));
    assert!(read(br#"{"jsonrpc":"2.0","id":null,"error":{}}"#).is_ok());
}

#[test]
fn depth_counts_from_the_message_itself() {
    for (before, after, levels) in [(r#""x":"#, "", 1), (r#""params":{"a":"#, "}", 2), (r#""params":{"_meta":{"a":"#, "}}", 3)] {
        let nested = |depth: usize| {
            let value = format!("{}{}", "[".repeat(depth - levels), "]".repeat(depth - levels));
            read(format!(r#"{{"jsonrpc":"2.0","method":"m",{before}{value}{after}}}"#).as_bytes())
        };
        assert!(nested(128).is_ok(), "{levels}");
        assert_eq!(nested(129).err(), Some(Unreadable::TooDeep), "{levels}");
    }
}

#[test]
fn a_name_in_another_case_is_just_an_unknown_member() {
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","paramſ":{"_meta":{"progressToken":1}}}"#;
    let read = envelope(text);
    assert_eq!((read.method, read.asked_token), (Method::Other, None));
}

#[test]
fn an_escaped_name_is_the_name() {
    let text = r#"{"jsonrpc":"2.0","\u0069d":1,"method":"init\u0069alize"}"#;
    let read = envelope(text);
    assert_eq!((read.method, at(text, read.id)), (Method::Initialize, "1"));
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_answer(text: Vec<u8>) {
        let _ = read(&text);
    }
}

#[test]
fn a_token_and_the_id_of_what_is_cancelled_have_at_most_1024_bytes() {
    for (method, before, after) in [
        ("tools/call", r#""_meta":{"progressToken":"#, "}"),
        ("notifications/progress", r#""progressToken":"#, ""),
        ("notifications/cancelled", r#""requestId":"#, ""),
    ] {
        let text = |length: usize| {
            let token = "x".repeat(length - 2);
            format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{{before}"{token}"{after}}}}}"#)
        };
        assert!(read(text(MAX_ID).as_bytes()).is_ok(), "{method}");
        assert!(matches!(read(text(MAX_ID + 1).as_bytes()), Err(Unreadable::Shape(..))), "{method}");
    }
}

use super::plain::first_special;
use super::*;
use proptest::prelude::*;

fn accepts(text: &[u8]) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    scanner.value(0)?;
    scanner.end()
}

#[test]
fn texts_that_look_like_json_and_are_not_are_refused() {
    for text in [
        "",
        " ",
        "nul",
        "truee",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "NaN",
        "\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\t\"",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\"}",
        "{a:1}",
        "[1 2]",
        "[",
        "]",
        "{]",
        "[}",
        "\u{feff}{}",
        "{} {}",
        "'a'",
        "[1],",
        "\"a\nb\"",
    ] {
        assert!(accepts(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn nesting_ends_at_128() {
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert_eq!(accepts(&nested(MAX_DEPTH)), Ok(()));
    assert_eq!(accepts(&nested(MAX_DEPTH + 1)), Err(Fault::TooDeep));
    assert_eq!(accepts(&vec![b'['; 4 << 20]), Err(Fault::TooDeep));
    let objects = [b"{\"a\":".repeat(MAX_DEPTH), b"1".to_vec(), b"}".repeat(MAX_DEPTH)].concat();
    assert_eq!(accepts(&objects), Ok(()));
}

#[test]
fn a_name_is_known_under_its_escapes() {
    for text in [r#""id""#, r#""\u0069d""#, r#""i\u0064""#, r#""\u0069\u0064""#] {
        let name = Scanner::new(text.as_bytes()).string().expect("a string");
        assert!(name.is(text.as_bytes(), "id"), "{text}");
    }
    for text in [r#""Id""#, r#""i""#, r#""idx""#, r#""i\n""#, r#""\u0131d""#] {
        let name = Scanner::new(text.as_bytes()).string().expect("a string");
        assert!(!name.is(text.as_bytes(), "id"), "{text}");
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,80}".prop_map(serde_json::Value::String),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::hash_map(".{0,6}", inner, 0..8)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_serde_json_writes_is_accepted(value in json(), pretty: bool) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
        prop_assert_eq!(accepts(&text.expect("it serialises")), Ok(()));
    }

    #[test]
    fn a_damaged_text_is_judged_as_serde_json_judges_it(value in json(), at: prop::sample::Index, byte: u8) {
        let mut text = serde_json::to_vec(&value).expect("it serialises");
        let at = at.index(text.len());
        text[at] = byte;
        // serde_json also refuses numbers that overflow and bad UTF-8; a RawValue leaves numbers alone, as we do.
        let theirs = serde_json::from_slice::<Box<serde_json::value::RawValue>>(&text).is_ok();
        let ours = std::str::from_utf8(&text).is_ok() && accepts(&text).is_ok();
        prop_assert_eq!(ours, theirs, "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn any_bytes_end_in_an_answer(text: Vec<u8>) {
        let _ = accepts(&text);
    }
}

#[test]
fn the_first_special_byte_of_a_word_is_found_whatever_stands_around_it() {
    for byte in 0..=255_u8 {
        for filler in [b'a', 0x20, 0x7f, 0x80, 0xff, b'!', b'#', b'[', b']'] {
            for at in 0..8 {
                let mut word = [filler; 8];
                word[at] = byte;
                let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
                assert_eq!(first_special(u64::from_le_bytes(word)), if is_special { at } else { 8 }, "{word:?}");
            }
        }
    }
}

#[test]
fn a_plain_prefix_ends_at_the_first_special_byte() {
    for length in 0..200 {
        let plain = vec![b'x'; length];
        assert_eq!(plain_prefix(&plain), length);
        for special in [b'"', b'\\', b'\n', 0] {
            for at in 0..length {
                let mut text = plain.clone();
                text[at] = special;
                assert_eq!(plain_prefix(&text), at, "{length}");
            }
        }
    }
}

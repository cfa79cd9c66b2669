//! The one spelling that equal JSON texts share.

use super::json;
use crate::protocol::canonical::canonical as spell;

/// The spelling is its own, means the same, has no white space, and does not depend on the white space, on the escapes or on the
/// order of the members of what it was made from.
pub fn canonical(bytes: &[u8]) {
    let spelled = spell(bytes);
    if std::str::from_utf8(bytes).is_err() {
        return; // messages are UTF-8, and `jsonrpc` sees to it
    }
    let Some(value) = json::value(bytes).filter(|value| json::depth(value) <= json::DEPTH) else {
        return assert_eq!(spelled, bytes, "what is no JSON is its own spelling");
    };
    assert_eq!(spell(&spelled), spelled, "one text has one spelling");
    assert_eq!(spell(&spaced(value)), spelled, "white space means nothing");
    assert_eq!(fingerprint(bytes), fingerprint(&spelled), "one spelling, one digest");
    let lower = value.to_ascii_lowercase();
    if !lower.windows(3).any(|part| part == b"\\ud") {
        assert_eq!(spell(&escaped(value)), spelled, "escapes mean nothing");
        assert_eq!(fingerprint(&escaped(value)), fingerprint(bytes));
    }
    if value[0] == b'{' {
        // Two members of one name keep their order; others have none.
        let mut members = json::members(value);
        let names: std::collections::BTreeSet<_> = members.iter().map(|member| member.name.clone()).collect();
        if names.len() == members.len() && !names.contains(&None) {
            members.reverse();
            let turned: Vec<Vec<u8>> = members.iter().map(|member| [member.token, b":", member.value].concat()).collect();
            assert_eq!(spell(&[b"{", turned.join(&b","[..]).as_slice(), b"}"].concat()), spelled, "their order means nothing");
        }
    }
    if let Ok(given) = serde_json::from_slice::<serde_json::Value>(bytes) {
        let same: serde_json::Value = serde_json::from_slice(&spelled).expect("JSON");
        assert_eq!(given, same);
    }
}

fn fingerprint(text: &[u8]) -> [u8; 32] {
    crate::protocol::fingerprint::fingerprint("", &[Some(text)])
}

/// The text with white space wherever there may be some.
fn spaced(json: &[u8]) -> Vec<u8> {
    outside(
        json,
        |byte, out| match byte {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => out.extend_from_slice(&[b'\n', byte, b'\t', b' ']),
            byte => out.push(byte),
        },
        |byte, out| out.push(byte),
    )
}

/// The text with every letter of its strings as an escape.
fn escaped(json: &[u8]) -> Vec<u8> {
    let escape = |byte: u8, out: &mut Vec<u8>| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'/' | b' ' => out.extend_from_slice(format!("\\u{byte:04X}").as_bytes()),
        byte => out.push(byte),
    };
    outside(json, |byte, out| out.push(byte), escape)
}

/// Writes each byte anew, those of strings and the others apart; escapes stay as they are.
fn outside(json: &[u8], other: impl Fn(u8, &mut Vec<u8>), string: impl Fn(u8, &mut Vec<u8>)) -> Vec<u8> {
    let (mut out, mut quoted) = (Vec::new(), false);
    let mut bytes = json.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                quoted = !quoted;
                out.push(byte);
            }
            b'\\' if quoted => {
                out.push(byte);
                let escape = bytes.next().expect("what is escaped");
                out.push(escape);
                let digits = if escape == b'u' { 4 } else { 0 };
                out.extend(bytes.by_ref().take(digits));
            }
            byte if quoted => string(byte, &mut out),
            byte => other(byte, &mut out),
        }
    }
    out
}

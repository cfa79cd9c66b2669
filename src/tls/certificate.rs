//! The little that is read of a certificate whose signature somebody else has checked: whom it names, and how long it is
//! good. Whatever is not as RFC 5280 has it reads as nothing.

use std::time::Duration;

use der::asn1::{AnyRef, GeneralizedTime, Ia5StringRef, ObjectIdentifier, PrintableStringRef, UtcTime, Utf8StringRef};
use der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, TagNumber, Tagged as _};

/// The longest name that is taken. A longer one is refused: cut short, two of them could be one.
const LONGEST_NAME: usize = 256;
/// What is asked of the alternative names, the most telling first: the tag of its choice (RFC 5280, 4.2.1.6) and how the name
/// of a principal begins.
const ALTERNATIVES: [(TagNumber, &str); 3] = [(TagNumber(6), "uri:"), (TagNumber(1), "email:"), (TagNumber(2), "dns:")];
/// The extension that holds them, subjectAltName.
const ALTERNATIVE_NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
/// The attributes that have a short name (RFC 4514, 3).
const SHORT_NAMES: [(ObjectIdentifier, &str); 9] = [
    (ObjectIdentifier::new_unwrap("2.5.4.3"), "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "STREET"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"), "DC"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), "UID"),
];

/// What was read.
pub(super) struct Certificate<'a> {
    subject: AnyRef<'a>,
    extensions: Option<AnyRef<'a>>,
    /// Since the Unix epoch.
    pub(super) not_before: Duration,
    pub(super) not_after: Duration,
}

impl<'a> Certificate<'a> {
    pub(super) fn read(der: &'a [u8]) -> Option<Certificate<'a>> {
        let whole = items(AnyRef::from_der(der).ok()?, Tag::Sequence)?;
        let [to_be_signed, _algorithm, _signature] = whole.as_slice() else { return None };
        let fields = items(*to_be_signed, Tag::Sequence)?;
        // The version is left out where it is the first.
        let version = usize::from(is_choice(*fields.first()?, TagNumber(0)));
        let [_serial, _algorithm, _issuer, validity, subject, _key, rest @ ..] = fields.get(version..)? else { return None };
        let validity = items(*validity, Tag::Sequence)?;
        let [not_before, not_after] = validity.as_slice() else { return None };
        Some(Certificate {
            subject: *subject,
            extensions: rest.iter().copied().find(|field| is_choice(*field, TagNumber(3))),
            not_before: time(*not_before)?,
            not_after: time(*not_after)?,
        })
    }

    /// `uri:…`, else `email:…`, else `dns:…`, else `subject:…`.
    pub(super) fn principal_name(&self) -> Option<String> {
        let alternatives = self.alternative_names()?;
        let first = ALTERNATIVES.iter().find_map(|(number, kind)| {
            let name = alternatives.iter().find(|name| is_choice(**name, *number))?;
            Some((kind, name.value()))
        });
        let name = match first {
            Some((kind, text)) => format!("{kind}{}", text_of(text)?),
            None => format!("subject:{}", subject(self.subject)?),
        };
        (name.len() <= LONGEST_NAME && !name.contains(char::is_control)).then_some(name)
    }

    /// None where what should hold them cannot be read; none of them where nothing does.
    fn alternative_names(&self) -> Option<Vec<AnyRef<'a>>> {
        let Some(extensions) = self.extensions else { return Some(Vec::new()) };
        let mut found = None;
        for extension in items(AnyRef::from_der(extensions.value()).ok()?, Tag::Sequence)? {
            let fields = items(extension, Tag::Sequence)?;
            let (id, value) = (fields.first()?, fields.last()?);
            if id.decode_as::<ObjectIdentifier>().ok()? != ALTERNATIVE_NAMES {
                continue;
            }
            value.tag().assert_eq(Tag::OctetString).ok()?;
            // RFC 5280, 4.2: a certificate must not include more than one instance of a particular extension.
            if found.replace(items(AnyRef::from_der(value.value()).ok()?, Tag::Sequence)?).is_some() {
                return None;
            }
        }
        Some(found.unwrap_or_default())
    }
}

/// What a sequence or set holds.
fn items(any: AnyRef<'_>, tag: Tag) -> Option<Vec<AnyRef<'_>>> {
    any.tag().assert_eq(tag).ok()?;
    let mut reader = SliceReader::new(any.value()).ok()?;
    let mut items = Vec::new();
    while !reader.is_finished() {
        items.push(reader.decode().ok()?);
    }
    Some(items)
}

fn is_choice(any: AnyRef<'_>, number: TagNumber) -> bool {
    any.tag().is_context_specific() && any.tag().number() == number
}

fn time(any: AnyRef<'_>) -> Option<Duration> {
    match any.tag() {
        Tag::UtcTime => Some(any.decode_as::<UtcTime>().ok()?.to_unix_duration()),
        Tag::GeneralizedTime => Some(any.decode_as::<GeneralizedTime>().ok()?.to_unix_duration()),
        _ => None,
    }
}

/// An alternative name, which is ASCII and not empty.
fn text_of(name: &[u8]) -> Option<&str> {
    std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && name.is_ascii())
}

/// A distinguished name as RFC 4514 writes it: the last part first.
fn subject(name: AnyRef<'_>) -> Option<String> {
    let mut parts = Vec::new();
    for part in items(name, Tag::Sequence)?.into_iter().rev() {
        let attributes = items(part, Tag::Set)?.into_iter().map(attribute).collect::<Option<Vec<_>>>()?;
        parts.push(attributes.join("+"));
    }
    Some(parts.join(",")).filter(|text| !text.is_empty())
}

fn attribute(attribute: AnyRef<'_>) -> Option<String> {
    let fields = items(attribute, Tag::Sequence)?;
    let [id, value] = fields.as_slice() else { return None };
    let id: ObjectIdentifier = id.decode_as().ok()?;
    let short_name = SHORT_NAMES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name);
    Some(match (short_name, string(*value)) {
        (Some(name), Some(text)) => format!("{name}={}", escaped(text)?),
        // RFC 4514, 2.4: what has no text of its own, or no name, is its encoding in hexadecimal digits.
        (name, _) => {
            let digits: String = value.to_der().ok()?.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}=#{digits}", name.map_or_else(|| id.to_string(), str::to_owned))
        }
    })
}

/// The text of a value that is one.
fn string(value: AnyRef<'_>) -> Option<&str> {
    match value.tag() {
        Tag::Utf8String => Some(value.decode_as::<Utf8StringRef<'_>>().ok()?.as_str()),
        Tag::PrintableString => Some(value.decode_as::<PrintableStringRef<'_>>().ok()?.as_str()),
        Tag::Ia5String => Some(value.decode_as::<Ia5StringRef<'_>>().ok()?.as_str()),
        _ => None,
    }
}

/// RFC 4514, 2.4. `None` where the text has control characters: no two names may look alike in a log.
fn escaped(text: &str) -> Option<String> {
    let last = text.chars().count().saturating_sub(1);
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        if c.is_control() {
            return None;
        }
        let is_special = matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\');
        if is_special || (at == 0 && matches!(c, ' ' | '#')) || (at == last && c == ' ') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    Some(escaped)
}

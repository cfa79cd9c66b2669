//! Durations and sizes as people write them.

use std::time::Duration;

/// `30s`, `5m`, `1h`, `250ms`; `0s` is allowed. A bare number has no unit and is refused.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is not a duration; write 30s, 5m, 1h or 250ms"))?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("{text:?} has no unit of time; write {number}s, {number}m, {number}h or {number}ms")),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| format!("{text:?} is too long"))
}

/// `64KiB`, `8MiB`, `1GiB`, or a number of bytes; at least 1 KiB and at most 1 GiB.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text);
    let number: usize = number.parse().map_err(|_| format!("{text:?} is not a size; write 64KiB, 8MiB or a number of bytes"))?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" | "K" | "k" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        _ => return Err(format!("{text:?} has an unknown unit; write {number}KiB or {number}MiB")),
    };
    let bytes = number.saturating_mul(factor);
    if (1 << 10..=1 << 30).contains(&bytes) { Ok(bytes) } else { Err(format!("{text:?} is not between 1KiB and 1GiB")) }
}

/// The mode of a file, in octal: `600`, `0660`.
pub(crate) fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && text.len() <= 4 && !text.starts_with('+'));
    mode.ok_or_else(|| format!("{text:?} is not a mode; write 600 or 660"))
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(size("8MiB"), Ok(8 << 20));
        assert_eq!(size("4096"), Ok(4096));
        for text in ["", "5", "m", "-5m", "5 m", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!((mode("600"), mode("0660")), (Ok(0o600), Ok(0o660)));
        for text in ["", "9", "1000", "00600", "+60", "rw"] {
            assert!(mode(text).is_err(), "{text}");
        }
        for text in ["", "12", "1TB", "2GiB", "x"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}

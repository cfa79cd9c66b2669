//! What a session is called.

use std::fmt;

/// Names a session toward its client: 128 random bits, 32 hexadecimal digits.
///
/// 2025-11-25, Session Management, 1: secure, visible ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(u128);

impl SessionId {
    /// # Errors
    /// The system gives no random bytes.
    pub(crate) fn random() -> Result<SessionId, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(SessionId(u128::from_ne_bytes(bytes)))
    }

    /// Only what `Display` writes.
    pub(crate) fn parse(text: &[u8]) -> Option<SessionId> {
        let half = |digits: &[u8; 16]| {
            digits.iter().try_fold(0_u64, |value, digit| {
                let digit = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return None,
                };
                Some(value << 4 | u64::from(digit))
            })
        };
        let (high, low) = text.split_first_chunk()?;
        Some(SessionId(u128::from(half(high)?) << 64 | u128::from(half(low.try_into().ok()?)?)))
    }

    /// What its client calls it: behind the name of the replica that has it, if that has one.
    pub(crate) fn shown(self, replica: Option<&str>) -> String {
        replica.map_or_else(|| self.to_string(), |replica| format!("{replica}-{self}"))
    }

    /// The same read: only what `shown` writes.
    pub(crate) fn read(text: &[u8], replica: Option<&str>) -> Option<SessionId> {
        match replica {
            None => SessionId::parse(text),
            Some(replica) => SessionId::parse(text.strip_prefix(replica.as_bytes())?.strip_prefix(b"-")?),
        }
    }

    /// What logs show of it: holding an id is holding the session.
    pub(crate) fn short(self) -> String {
        format!("{:08x}", self.0 >> 96)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_only_as_it_is_written() {
        let id = SessionId::random().expect("random bytes");
        assert_eq!(SessionId::parse(id.to_string().as_bytes()).map(|id| id.0), Some(id.0));
        assert!(id.to_string().starts_with(&id.short()));
        for text in
            ["", "0", "g0000000000000000000000000000000", "A0000000000000000000000000000000", "+0000000000000000000000000000000"]
        {
            assert!(SessionId::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn an_id_names_the_replica_that_has_it() {
        let id = SessionId::random().expect("random bytes");
        let shown = id.shown(Some("a"));
        assert!(shown.starts_with("a-") && SessionId::read(shown.as_bytes(), Some("a")) == Some(id));
        assert!(SessionId::read(id.shown(None).as_bytes(), None) == Some(id));
        for (text, replica) in [(&*shown, None), (&shown, Some("b")), (&id.to_string(), Some("a")), (&shown[1..], Some("a"))] {
            assert!(SessionId::read(text.as_bytes(), replica).is_none(), "{text} {replica:?}");
        }
    }

    #[test]
    fn ids_do_not_repeat_and_use_every_bit() {
        let ids: std::collections::HashSet<u128> = (0..100_000).map(|_| SessionId::random().expect("random bytes").0).collect();
        assert_eq!(ids.len(), 100_000);
        for bit in 0..128 {
            let set = ids.iter().filter(|id| *id >> bit & 1 == 1).count();
            assert!((48_000..52_000).contains(&set), "bit {bit} is set in {set} of 100000");
        }
    }
}

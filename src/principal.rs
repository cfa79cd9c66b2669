//! Who a client proved to be. What a client opened or asked is found again only together with its principal.

use std::sync::Arc;

use crate::seal::digest;

/// The owner of sessions, children and calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Principal {
    /// Nobody was asked who they are.
    Anonymous,
    /// The name that stands beside the token it sent. Several tokens may have one name, so that one can follow another.
    Token(Arc<str>),
    /// What its certificate says of it, such as `dns:build.example.com`.
    Certificate(Arc<str>),
}

impl Principal {
    /// What stands for it where it must be recognised and not told. Another kind with the same name has another.
    pub(crate) fn tag(&self) -> [u8; 32] {
        match self {
            Principal::Anonymous => digest(&[b"anonymous"]),
            Principal::Token(name) => digest(&[b"token", name.as_bytes()]),
            Principal::Certificate(name) => digest(&[b"certificate", name.as_bytes()]),
        }
    }

    /// What a log calls it. A certificate's has a colon, which no token's has, and no token's is `anonymous`.
    pub(crate) fn name(&self) -> &str {
        match self {
            Principal::Anonymous => "anonymous",
            Principal::Token(name) | Principal::Certificate(name) => name,
        }
    }

    /// Somebody, to test that one is kept apart from another.
    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Principal {
        Principal::Token(name.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_told_apart() {
        let names = ["", "alice", "bob", "anonymous"].map(Arc::<str>::from);
        let mut all = vec![Principal::Anonymous];
        all.extend(names.iter().cloned().map(Principal::Token));
        all.extend(names.iter().cloned().map(Principal::Certificate));
        for (at, one) in all.iter().enumerate() {
            for (place, other) in all.iter().enumerate() {
                assert_eq!((one == other, one.tag() == other.tag()), (at == place, at == place), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_log_has_the_name_only() {
        assert_eq!(Principal::Anonymous.name(), "anonymous");
        assert_eq!(Principal::named("alice").name(), "alice");
        assert_eq!(Principal::Certificate("dns:a.example".into()).name(), "dns:a.example");
    }
}

//! Who a client proved to be. What a client opened or asked is found again only together with its principal.

/// The owner of sessions, children and calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Principal {
    /// Nobody was asked who they are.
    Anonymous,
    /// Somebody else, to test that the two are kept apart.
    #[cfg(test)]
    Named(&'static str),
}

impl Principal {
    /// What stands for it where it must be recognised and not told.
    pub(crate) fn tag(&self) -> [u8; 32] {
        match self {
            Principal::Anonymous => crate::seal::digest(&[b"anonymous"]),
            #[cfg(test)]
            Principal::Named(name) => crate::seal::digest(&[b"named", name.as_bytes()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_told_apart() {
        let named = Principal::Named("alice").tag();
        assert_ne!(named, Principal::Anonymous.tag());
        assert_ne!(named, Principal::Named("bob").tag());
        assert_ne!(Principal::Named("").tag(), Principal::Anonymous.tag());
    }
}

//! What must be in no log and no message.

use std::fmt;

/// A token, a key, or what is made of them.
#[derive(Clone)]
pub(crate) struct Secret<T>(T);

impl<T> Secret<T> {
    pub(crate) fn new(value: T) -> Self {
        Secret(value)
    }

    /// For whoever it is for.
    pub(crate) fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_told_only_to_who_asks_for_it() {
        let secret = Secret::new("text");
        assert_eq!((format!("{secret:?}").as_str(), *secret.reveal()), ("Secret(..)", "text"));
        assert_eq!(format!("{:#?}", Some(secret)), "Some(\n    Secret(..),\n)");
    }
}

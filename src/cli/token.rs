//! `token new NAME --file FILE`.

use std::path::Path;

use crate::auth::new_token;

/// The new token, to be told this once.
///
/// # Errors
/// The name is none, or the file cannot be added to; in words.
pub fn new(name: &str, file: &Path) -> Result<String, String> {
    new_token(name, file).map(|token| token.reveal().clone()).map_err(|fault| fault.to_string())
}

//! Files of the configuration, as they may be by a slip or by malice.

use crate::config::reading;

/// The first byte chooses the kind of file. What is found good is printed so that it is read as the same.
pub fn config(bytes: &[u8]) {
    let Some((kind, text)) = bytes.split_first() else { return };
    match reading(text, kind & 1 == 1) {
        Ok(printed) => assert_eq!(reading(printed.as_bytes(), false), Ok(printed.clone()), "{printed}"),
        Err(faults) => {
            assert!(!faults.is_empty());
            faults.iter().for_each(|fault| assert!(fault.starts_with("f:"), "{fault}"));
        }
    }
}

//! What a client is told that opens a session in front of a child that is initialised already.

use crate::bridge::capabilities::{of_legacy_server as without_tasks, without_changes};
use crate::bridge::discover::{Facts, revision_of};
use crate::protocol::object::{self, Edit, Member};
use crate::protocol::revision::Revision;

/// The child's own result, in a
/// revision that both know, and without tasks, which one client could see of another. `can_listen` says whether the client has
/// a stream to hear of changes on.
pub(crate) fn initialize_result(facts: &Facts, asked: Revision, can_listen: bool) -> (Revision, Vec<u8>) {
    let own = revision_of(&facts.result).unwrap_or(asked);
    let agreed = own.min(asked);
    let edit = |member: &Member<'_>| {
        if member.is("protocolVersion") {
            Edit::Put(object::quoted(agreed.as_str()))
        } else if member.is("capabilities") {
            let offered = without_tasks(member.value);
            Edit::Put(if can_listen { offered } else { without_changes(&offered) })
        } else {
            Edit::Keep
        }
    };
    (agreed, object::rewrite(&facts.result, &[], edit, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_what_the_child_said_but_for_what_it_must_not_use() {
        let facts = Facts::of(
            br#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"tasks":{}},"serverInfo":{"name":"x","version":"1"},"extra":1e400}"#,
        );
        let told = |asked, can_listen| {
            let (agreed, told) = initialize_result(&facts, asked, can_listen);
            (agreed, String::from_utf8(told).expect("UTF-8"))
        };
        assert_eq!(
            told(Revision::V2025_03_26, true),
            (
                Revision::V2025_03_26,
                r#"{"protocolVersion":"2025-03-26","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"x","version":"1"},"extra":1e400}"#
                    .to_owned()
            )
        );
        let (agreed, text) = told(Revision::V2025_11_25, false);
        assert_eq!(agreed, Revision::V2025_06_18, "the child knows no newer one");
        assert!(text.contains(r#""capabilities":{"tools":{}}"#), "{text}");
    }
}

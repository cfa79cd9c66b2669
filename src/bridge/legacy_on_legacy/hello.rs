//! What a client is told that opens a session in front of a child that is initialised already.

use crate::bridge::capabilities::of_legacy_server as without_tasks;
use crate::bridge::discover::{Facts, revision_of};
use crate::protocol::object::{self, Edit, Member};
use crate::protocol::revision::Revision;

/// The child's own result, in a
/// revision that both know, and without tasks, which one client could see of another.
pub(crate) fn initialize_result(facts: &Facts, asked: Revision) -> (Revision, Vec<u8>) {
    let own = revision_of(&facts.result).unwrap_or(asked);
    let agreed = own.min(asked);
    let edit = |member: &Member<'_>| {
        if member.is("protocolVersion") {
            Edit::Put(object::quoted(agreed.as_str()))
        } else if member.is("capabilities") {
            Edit::Put(without_tasks(member.value))
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
        let told = |facts: &Facts, asked| {
            let (agreed, told) = initialize_result(facts, asked);
            (agreed, String::from_utf8(told).expect("UTF-8"))
        };
        assert_eq!(
            told(&facts, Revision::V2025_03_26),
            (
                Revision::V2025_03_26,
                r#"{"protocolVersion":"2025-03-26","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"x","version":"1"},"extra":1e400}"#
                    .to_owned()
            )
        );
        let (agreed, text) = told(&facts.for_stateless(), Revision::V2025_11_25);
        assert_eq!(agreed, Revision::V2025_06_18, "the child knows no newer one");
        assert!(text.contains(r#""capabilities":{"tools":{}}"#), "{text}");
    }
}

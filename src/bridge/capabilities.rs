//! What clients and servers declare they can do, from one era to the other.

use std::sync::Arc;

use crate::protocol::canonical::canonical;
use crate::protocol::meta::TASKS;
use crate::protocol::object::{self, Edit};
use crate::protocol::scan::Value;

/// What a modern client declared, as a legacy child is told it: equal declarations are equal here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Capabilities(Arc<[u8]>);

/// What a client can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) form: bool,
    pub(crate) url: bool,
    pub(crate) sampling: bool,
    pub(crate) sampling_tools: bool,
    pub(crate) roots: bool,
    /// The tasks extension.
    pub(crate) tasks: bool,
}

impl Capabilities {
    pub(crate) fn none() -> Capabilities {
        Capabilities(Arc::from(&b"{}"[..]))
    }

    /// `roots` without `listChanged`, which is never sent; no tasks; an elicitation that names no mode but `form` is one that
    /// names none (2025-11-25, Elicitation, Capabilities).
    pub(crate) fn of(declared: &[u8]) -> Capabilities {
        let told = object::rewrite(
            declared,
            &[],
            |member| {
                if member.is("tasks") {
                    Edit::Drop
                } else if member.is("roots") || member.is("elicitation") && modes(member.value) == (true, false) {
                    Edit::Put(b"{}".to_vec())
                } else if member.is("extensions") {
                    match without_tasks(member.value) {
                        extensions if extensions == b"{}" => Edit::Drop,
                        extensions => Edit::Put(extensions),
                    }
                } else {
                    Edit::Keep
                }
            },
            &[],
        );
        Capabilities(canonical(&told).into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Declared {
    pub(crate) fn of(declared: &[u8]) -> Declared {
        let (form, url) = object::member(declared, "elicitation").map_or((false, false), |found| modes(found.value));
        Declared {
            form,
            url,
            sampling: object::member(declared, "sampling").is_some(),
            sampling_tools: object::at(declared, &["sampling", "tools"]).is_some(),
            roots: object::member(declared, "roots").is_some(),
            tasks: object::at(declared, &["extensions", TASKS]).is_some(),
        }
    }

    /// Whether the client can be asked anything.
    pub(crate) fn any(self) -> bool {
        self.form || self.url || self.sampling || self.roots
    }
}

/// Form and URL mode.
fn modes(elicitation: &[u8]) -> (bool, bool) {
    let has = |mode| object::member(elicitation, mode).is_some();
    (has("form") || !has("url"), has("url"))
}

fn without_tasks(extensions: &[u8]) -> Vec<u8> {
    object::rewrite(extensions, &[], |member| if member.is(TASKS) { Edit::Drop } else { Edit::Keep }, &[])
}

/// A legacy server's capabilities, as a modern client is told them: all but tasks, which do not cross.
pub(crate) fn of_legacy_server(capabilities: &[u8]) -> Vec<u8> {
    object::rewrite(
        capabilities,
        &[],
        |member| {
            if member.is("tasks") {
                Edit::Drop
            } else if member.is("extensions") {
                Edit::Put(without_tasks(member.value))
            } else {
                Edit::Keep
            }
        },
        &[],
    )
}

/// Capabilities of a server whose clients have no sessions.
pub(crate) fn for_stateless(capabilities: &[u8]) -> Vec<u8> {
    let quiet = |member: &object::Member<'_>| if member.is("logging") { Edit::Drop } else { Edit::Keep };
    object::rewrite(&without_changes(capabilities), &[], quiet, &[])
}

/// Capabilities of a server whose clients have no stream to hear of changes on.
pub(crate) fn without_changes(capabilities: &[u8]) -> Vec<u8> {
    let quiet = |offer: &[u8]| {
        let tells = |member: &object::Member<'_>| member.is("listChanged") || member.is("subscribe");
        object::rewrite(offer, &[], |member| if tells(member) { Edit::Drop } else { Edit::Keep }, &[])
    };
    let edit = |member: &object::Member<'_>| {
        let is_offer = member.is("tools") || member.is("prompts") || member.is("resources");
        if is_offer && member.kind == Value::Object { Edit::Put(quiet(member.value)) } else { Edit::Keep }
    };
    object::rewrite(capabilities, &[], edit, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_declarations_are_equal() {
        let of = |text: &str| Capabilities::of(text.as_bytes());
        assert_eq!(of(r#"{"roots":{"listChanged":true},"elicitation":{}}"#), of(r#"{ "elicitation":{"form":{}}, "roots":{} }"#));
        assert_ne!(of(r#"{"elicitation":{}}"#), of(r#"{"elicitation":{"form":{},"url":{}}}"#));
        assert_ne!(of(r#"{"elicitation":{"url":{}}}"#), of(r#"{"elicitation":{"form":{},"url":{}}}"#));
        assert_eq!(of(r#"{"tasks":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#), Capabilities::none());
        let ui = of(r#"{"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["a"]},"io.modelcontextprotocol/tasks":{}}}"#);
        assert_eq!(ui.as_bytes(), br#"{"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["a"]}}}"#);
    }

    #[test]
    fn what_can_be_asked_is_what_was_declared() {
        let declared = |text: &str| Declared::of(text.as_bytes());
        let none = Declared::default();
        assert_eq!(declared("{}"), none);
        assert_eq!(declared(r#"{"elicitation":{}}"#), Declared { form: true, ..none });
        assert_eq!(declared(r#"{"elicitation":{"url":{}}}"#), Declared { url: true, ..none });
        assert_eq!(declared(r#"{"sampling":{"tools":{}}}"#), Declared { sampling: true, sampling_tools: true, ..none });
        assert!(!declared(r#"{"extensions":{"x":{}}}"#).any());
        assert!(declared(r#"{"roots":{}}"#).any());
    }

    #[test]
    fn a_legacy_server_has_no_tasks_for_modern_clients() {
        let told = of_legacy_server(
            br#"{"tools":{"listChanged":true},"tasks":{"list":{}},"extensions":{"io.modelcontextprotocol/ui":{}}}"#,
        );
        assert_eq!(told, br#"{"tools":{"listChanged":true},"extensions":{"io.modelcontextprotocol/ui":{}}}"#);
    }
}

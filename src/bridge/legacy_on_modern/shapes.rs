//! Shapes of questions that older revisions cannot hold, as they can; and whether they can at all.

use super::results::{Wrapped, in_object, put, tool};
use crate::protocol::object::{self, Edit, Member};
use crate::protocol::revision::Revision;
use crate::protocol::scan::Value;

/// Whether a form lets its user choose several things: an array, which came with 2025-11-25.
pub(super) fn has_choice_of_several(params: &[u8]) -> bool {
    let properties = object::at(params, &["requestedSchema", "properties"]).map_or(&b"{}"[..], |found| found.value);
    let is_array = |member: &Member<'_>| object::member(member.value, "type").is_some_and(|kind| kind.value == b"\"array\"");
    object::members(properties).iter().any(is_array)
}

/// 2025-06-18 has titles of choices beside the choices, not in `oneOf`.
pub(super) fn with_old_forms(params: &[u8]) -> Vec<u8> {
    let property = |schema: &[u8]| {
        let choices = object::member(schema, "oneOf").filter(|choices| choices.kind == Value::Array);
        let Some(choices) = choices.map(|choices| object::elements(choices.value)) else { return schema.to_vec() };
        let of = |name| -> Option<Vec<&[u8]>> {
            choices.iter().map(|choice| object::member(choice, name).map(|member| member.value)).collect()
        };
        let Some(values) = of("const") else { return schema.to_vec() };
        let values = [b"[", values.join(&b","[..]).as_slice(), b"]"].concat();
        let titles = of("title").map(|titles| [b"[", titles.join(&b","[..]).as_slice(), b"]"].concat());
        let mut last: Vec<(&str, &[u8])> = vec![("enum", &values)];
        last.extend(titles.as_deref().map(|titles| ("enumNames", titles)));
        object::rewrite(schema, &[], |member| if member.is("oneOf") { Edit::Drop } else { Edit::Keep }, &last)
    };
    let properties = |schema: &[u8]| {
        put(schema, "properties", Value::Object, |properties| {
            object::rewrite(properties, &[], |member| Edit::Put(property(member.value)), &[])
        })
    };
    put(params, "requestedSchema", Value::Object, properties)
}

/// The blocks of a sampling message: one, or several in an array.
fn blocks(message: &[u8]) -> Vec<&[u8]> {
    let content = object::member(message, "content");
    content.map_or_else(Vec::new, |content| match content.kind {
        Value::Array => object::elements(content.value),
        _ => vec![content.value],
    })
}

/// Whether the messages of a sampling request can be said in that revision.
pub(super) fn fits(params: &[u8], revision: Revision) -> bool {
    let knows = |block: &[u8]| match object::member(block, "type").map(|kind| kind.value) {
        Some(b"\"text\"" | b"\"image\"") => true,
        Some(b"\"audio\"") => revision.has_audio(),
        _ => false,
    };
    let fits = |message: &&[u8]| {
        let blocks = blocks(message);
        !blocks.is_empty() && blocks.into_iter().all(knows)
    };
    let messages = object::member(params, "messages").map_or(&b"[]"[..], |messages| messages.value);
    revision.has_content_arrays() || object::elements(messages).iter().all(fits)
}

/// A sampling request in shapes of that revision. Up to 2025-06-18 a message has one block: several are several messages.
pub(super) fn sampling(params: &[u8], revision: Revision) -> Vec<u8> {
    let messages = |messages: &[u8]| {
        if revision.has_content_arrays() {
            return object::map_elements(messages, with_wrapped_results);
        }
        let single = |message: &[u8], block: &[u8]| {
            let edit = |member: &Member<'_>| {
                if member.is("content") { Edit::Put(block.to_vec()) } else { Edit::Keep }
            };
            object::rewrite(message, &[], edit, &[])
        };
        let all = object::elements(messages);
        let all = all.iter().flat_map(|message| blocks(message).into_iter().map(|block| single(message, block)));
        [b"[", all.collect::<Vec<_>>().join(&b","[..]).as_slice(), b"]"].concat()
    };
    let with_messages = put(params, "messages", Value::Array, messages);
    put(&with_messages, "tools", Value::Array, |tools| object::map_elements(tools, |one| tool(one, &mut Wrapped::default())))
}

/// Up to 2025-11-25 a tool's structured result is an object.
fn with_wrapped_results(message: &[u8]) -> Vec<u8> {
    let block = |block: &[u8]| {
        let edit = |member: &Member<'_>| {
            if member.is("structuredContent") && member.kind != Value::Object {
                Edit::Put(in_object(member.value).joined())
            } else {
                Edit::Keep
            }
        };
        object::rewrite(block, &[], edit, &[])
    };
    let edit = |member: &Member<'_>| match member.kind {
        Value::Array if member.is("content") => Edit::Put(object::map_elements(member.value, block)),
        Value::Object if member.is("content") => Edit::Put(block(member.value)),
        _ => Edit::Keep,
    };
    object::rewrite(message, &[], edit, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(params: &str, revision: Revision) -> Option<String> {
        let fits = fits(params.as_bytes(), revision);
        fits.then(|| String::from_utf8(sampling(params.as_bytes(), revision)).expect("UTF-8"))
    }

    #[test]
    fn several_blocks_are_several_messages_for_older_clients() {
        let params = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","data":"","mimeType":"x"}]}],"maxTokens":1}"#;
        assert_eq!(asked(params, Revision::V2025_11_25).as_deref(), Some(params));
        assert_eq!(
            asked(params, Revision::V2024_11_05).as_deref(),
            Some(
                r#"{"messages":[{"role":"user","content":{"type":"text","text":"a"}},{"role":"user","content":{"type":"image","data":"","mimeType":"x"}}],"maxTokens":1}"#
            )
        );
        let audio = r#"{"messages":[{"role":"user","content":{"type":"audio","data":"","mimeType":"x"}}]}"#;
        assert_eq!(asked(audio, Revision::V2024_11_05), None);
        assert_eq!(asked(audio, Revision::V2025_03_26).as_deref(), Some(audio));
        let tools = r#"{"messages":[{"role":"user","content":[{"type":"tool_result","structuredContent":true}]}]}"#;
        assert_eq!(asked(tools, Revision::V2025_06_18), None);
        assert!(asked(tools, Revision::V2025_11_25).is_some_and(|told| told.contains(r#""structuredContent":{"result":true}"#)));
        assert_eq!(asked(r#"{"messages":[{"role":"user","content":[]}]}"#, Revision::V2025_06_18), None);
    }

    #[test]
    fn tools_in_a_question_are_tools_of_the_revision() {
        let params = r#"{"messages":[],"tools":[{"name":"a","inputSchema":{"type":"object","properties":{"w":true}},"outputSchema":{"type":"boolean"}}]}"#;
        let told = asked(params, Revision::V2025_11_25).expect("it fits");
        assert!(told.contains(r#""properties":{"w":{}}"#) && told.contains(r#""required":["result"]"#), "{told}");
    }

    #[test]
    fn a_choice_of_several_is_seen() {
        let form = |kind: &str| format!(r#"{{"requestedSchema":{{"type":"object","properties":{{"a":{{"type":"{kind}"}}}}}}}}"#);
        assert!(has_choice_of_several(form("array").as_bytes()));
        assert!(!has_choice_of_several(form("string").as_bytes()));
    }
}

//! A modern child's answers as older clients read them: without what only modern results have, and with shapes that the
//! revision of the session can hold.

use std::collections::HashMap;

use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::meta::{Ask, SERVER_INFO};
use crate::protocol::object::{self, Edit, Member};
use crate::protocol::pieces::Pieces;
use crate::protocol::revision::Revision;
use crate::protocol::scan::Value;
use crate::protocol::splice::{self, Spliced};

/// How many tools are remembered in one session.
const MAX_TOOLS: usize = 4096;

/// The tools that were listed, by the JSON text of their names; whether results are expected inside an object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wrapped(HashMap<Vec<u8>, bool>);

impl Wrapped {
    /// `None` for a tool that was not listed.
    pub(crate) fn is_wrapped(&self, name: &[u8]) -> Option<bool> {
        self.0.get(name).copied()
    }

    /// Remembers the tools of a `tools/list` result.
    pub(crate) fn learn(&mut self, result: &[u8]) {
        for one in object::member(result, "tools").map_or_else(Vec::new, |tools| object::elements(tools.value)) {
            tool(one, self);
        }
    }

    pub(crate) fn set(&mut self, name: &[u8], is_wrapped: bool) {
        if self.0.len() < MAX_TOOLS || self.0.contains_key(name) {
            self.0.insert(name.to_vec(), is_wrapped);
        }
    }
}

/// Whether a tool's result is an object, so that it depends on the tool whether it is expected inside another.
pub(crate) fn is_structured(result: &[u8]) -> bool {
    object::member(result, "structuredContent").is_some_and(|content| content.kind == Value::Object)
}

/// What a result is to the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Complete,
    InputRequired,
    /// Of a type that nobody here knows.
    Unknown,
}

/// 2026-07-28, Basic, ResultType: absent means complete.
pub(crate) fn kind(result: &[u8]) -> Kind {
    match object::member(result, "resultType").map(|kind| kind.value) {
        None | Some(b"\"complete\"") => Kind::Complete,
        Some(b"\"input_required\"") => Kind::InputRequired,
        Some(_) => Kind::Unknown,
    }
}

/// The child's answer, for a client of that revision. `name` is the tool that was called, if one was.
pub(crate) fn answer(
    text: &[u8],
    envelope: &Envelope,
    ask: Ask,
    name: Option<&[u8]>,
    revision: Revision,
    wrapped: &mut Wrapped,
) -> Spliced {
    let Some(result) = envelope.result else { return splice::compose(text, Vec::new(), b"") };
    let own = result.of(text);
    if own.first() != Some(&b'{') {
        let text_of = "the server's result is not an object";
        let id = envelope.id.map(|id| id.of(text));
        return Spliced::Whole(jsonrpc::error(id, jsonrpc::INTERNAL_ERROR, text_of, None));
    }
    let told = told(own, without_modern_members(ask), ask, name, revision, wrapped);
    splice::compose(text, vec![(result, told)], b"")
}

/// 2026-07-28, Basic, ResultType; Caching; General fields: what results of before do not have.
fn without_modern_members<'a>(ask: Ask) -> impl Fn(&Member<'a>) -> Edit<'a> {
    move |member| {
        if member.is("resultType") || ask.is_cacheable() && (member.is("ttlMs") || member.is("cacheScope")) {
            Edit::Drop
        } else if member.is("_meta") && member.kind == Value::Object {
            let unnamed = |member: &Member<'_>| if member.is(SERVER_INFO) { Edit::Drop } else { Edit::Keep };
            match object::rewrite(member.value, &[], unnamed, &[]) {
                meta if meta == b"{}" && member.value != b"{}" => Edit::Drop,
                meta => Edit::Put(meta),
            }
        } else {
            Edit::Keep
        }
    }
}

/// A legacy result in shapes that a client of that revision can hold.
pub(crate) fn shaped(result: &[u8], ask: Ask, name: Option<&[u8]>, revision: Revision, wrapped: &mut Wrapped) -> Vec<u8> {
    told(result, |_| Edit::Keep, ask, name, revision, wrapped).joined()
}

/// The same, and before it what `first` says of each member.
fn told<'a>(
    result: &'a [u8],
    first: impl Fn(&Member<'a>) -> Edit<'a>,
    ask: Ask,
    name: Option<&[u8]>,
    revision: Revision,
    wrapped: &mut Wrapped,
) -> Pieces<'a> {
    let is_list = |member: &Member<'_>, name| member.is(name) && member.kind == Value::Array;
    let edit = |then: &mut dyn FnMut(&Member<'a>) -> Edit<'a>, member: &Member<'a>| match first(member) {
        Edit::Keep => then(member),
        edited => edited,
    };
    match ask {
        Ask::ListTools => {
            let mut tools = |member: &Member<'a>| {
                let list = is_list(member, "tools");
                if list { Edit::Put(object::map_elements(member.value, |one| tool(one, wrapped))) } else { Edit::Keep }
            };
            object::compose(result, &[], |member| edit(&mut tools, member), &[])
        }
        Ask::GetPrompt => {
            let mut messages = |member: &Member<'a>| {
                let list = is_list(member, "messages");
                if list { Edit::Compose(prompt(member.value, revision)) } else { Edit::Keep }
            };
            object::compose(result, &[], |member| edit(&mut messages, member), &[])
        }
        Ask::CallTool => {
            let shape = ToolResult::of(result, name.and_then(|name| wrapped.is_wrapped(name)) == Some(true));
            let content = shape.content();
            let last: Option<(&str, &[u8])> = content.as_deref().map(|content| ("content", content));
            let mut members = |member: &Member<'a>| shape.edit(member, revision);
            object::compose(result, &[], |member| edit(&mut members, member), last.as_slice())
        }
        _ => object::compose(result, &[], first, &[]),
    }
}

/// The messages of a prompt, each with one block.
fn prompt(messages: &[u8], revision: Revision) -> Pieces<'_> {
    object::compose_elements(messages, |message| {
        let edit = |member: &Member<'_>| member.is("content") && member.kind == Value::Object;
        object::compose(
            message,
            &[],
            |member| if edit(member) { Edit::Compose(block(member.value, revision)) } else { Edit::Keep },
            &[],
        )
    })
}

/// The object with one member, if it is of that kind, written anew.
pub(super) fn put(object: &[u8], name: &str, kind: Value, mut write: impl FnMut(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let is_it = |member: &Member<'_>| member.is(name) && member.kind == kind;
    object::rewrite(object, &[], |member| if is_it(member) { Edit::Put(write(member.value)) } else { Edit::Keep }, &[])
}

/// A tool as clients up to 2025-11-25 read it: a property's schema is an object, and a schema of results describes one.
pub(super) fn tool(tool: &[u8], wrapped: &mut Wrapped) -> Vec<u8> {
    let name = object::member(tool, "name").map(|name| name.value);
    let mut is_wrapped = false;
    let edit = |member: &Member<'_>| {
        if member.is("inputSchema") || member.is("outputSchema") && describes_object(member.value) {
            Edit::Put(without_booleans(member.value))
        } else if member.is("outputSchema") {
            match wrap_schema(member.value) {
                Some(schema) => {
                    is_wrapped = true;
                    Edit::Put(schema)
                }
                None => Edit::Drop,
            }
        } else {
            Edit::Keep
        }
    };
    let written = object::rewrite(tool, &[], edit, &[]);
    if let Some(name) = name {
        wrapped.set(name, is_wrapped);
    }
    written
}

/// A schema whose properties are described by objects.
fn without_booleans(schema: &[u8]) -> Vec<u8> {
    fn described<'a>(property: &Member<'a>) -> Edit<'a> {
        match property.value {
            b"true" => Edit::Put(b"{}".to_vec()),
            b"false" => Edit::Put(br#"{"not":{}}"#.to_vec()),
            _ => Edit::Keep,
        }
    }
    put(schema, "properties", Value::Object, |properties| object::rewrite(properties, &[], described, &[]))
}

fn describes_object(schema: &[u8]) -> bool {
    object::member(schema, "type").is_some_and(|kind| kind.value == b"\"object\"")
}

/// The schema of an object whose `result` is what that schema describes; `None` where moving it would change what it refers to.
fn wrap_schema(schema: &[u8]) -> Option<Vec<u8>> {
    const HOISTED: [&str; 3] = ["$schema", "$defs", "definitions"];
    if schema.first() == Some(&b'{') && (object::member(schema, "$id").is_some() || has_local_reference(schema)) {
        return None;
    }
    let is_hoisted = |member: &Member<'_>| HOISTED.iter().any(|name| member.is(name));
    let inner = if schema.first() == Some(&b'{') {
        object::rewrite(schema, &[], |member| if is_hoisted(member) { Edit::Drop } else { Edit::Keep }, &[])
    } else {
        schema.to_vec()
    };
    let inner = match inner.as_slice() {
        b"true" => b"{}".to_vec(),
        b"false" => br#"{"not":{}}"#.to_vec(),
        _ => inner,
    };
    let properties = object::rewrite(b"{}", &[("result", &inner)], |_| Edit::Keep, &[]);
    let mut members: Vec<(&str, &[u8])> =
        vec![("type", b"\"object\""), ("properties", &properties), ("required", br#"["result"]"#)];
    members.extend(HOISTED.iter().filter_map(|name| Some((*name, object::member(schema, name)?.value))));
    Some(object::rewrite(b"{}", &members, |_| Edit::Keep, &[]))
}

/// Whether somewhere in a schema there is a reference into the schema itself, beyond the definitions that are hoisted.
fn has_local_reference(value: &[u8]) -> bool {
    match value.first() {
        Some(b'{') => object::members(value).iter().any(|member| {
            let is_reference = member.is("$ref") || member.is("$dynamicRef") || member.is("$recursiveRef");
            let target = is_reference.then(|| object::string(member.value)).flatten();
            target.is_some_and(|target| {
                target.starts_with('#') && !target.starts_with("#/$defs/") && !target.starts_with("#/definitions/")
            }) || has_local_reference(member.value)
        }),
        Some(b'[') => object::elements(value).into_iter().any(has_local_reference),
        _ => false,
    }
}

/// What a client expects in an object, in one.
pub(super) fn in_object(value: &[u8]) -> Pieces<'_> {
    let mut out = Pieces::from(br#"{"result":"#.to_vec());
    out.keep(value);
    out.add(b"}");
    out
}

/// What is to be done with a tool's result.
struct ToolResult<'a> {
    /// The structured result that goes into an object.
    wrap: Option<Member<'a>>,
    /// The same as a block of text, where there is none.
    spelled: Option<Vec<u8>>,
    has_content: bool,
}

impl<'a> ToolResult<'a> {
    fn of(result: &'a [u8], is_wrapped: bool) -> ToolResult<'a> {
        let structured = object::member(result, "structuredContent");
        let wrap = structured.filter(|content| is_wrapped || content.kind != Value::Object);
        let content = object::member(result, "content").filter(|content| content.kind == Value::Array);
        let blocks = content.map_or_else(Vec::new, |content| object::elements(content.value));
        let has_text = blocks.into_iter().any(|one| kind_of(one) == Some("text"));
        let spelled = wrap.filter(|_| !has_text).map(|content| {
            let text = object::quoted(&String::from_utf8_lossy(content.value));
            [br#"{"type":"text","text":"#, text.as_slice(), b"}"].concat()
        });
        ToolResult { wrap, spelled, has_content: content.is_some() }
    }

    /// The content of a result that has none.
    fn content(&self) -> Option<Vec<u8>> {
        let spelled = self.spelled.as_ref().filter(|_| !self.has_content)?;
        Some([b"[", spelled.as_slice(), b"]"].concat())
    }

    fn edit(&self, member: &Member<'a>, revision: Revision) -> Edit<'a> {
        if member.is("content") && member.kind == Value::Array {
            let blocks = object::elements(member.value);
            if self.spelled.is_none() && !blocks.iter().any(|one| is_unknown(one, revision)) {
                return Edit::Keep;
            }
            let mut blocks: Vec<Pieces<'a>> = blocks.into_iter().map(|one| block(one, revision)).collect();
            blocks.extend(self.spelled.clone().map(Pieces::from));
            return Edit::Compose(Pieces::array(blocks));
        }
        match self.wrap {
            Some(content) if member.is("structuredContent") => Edit::Compose(in_object(content.value)),
            _ => Edit::Keep,
        }
    }
}

/// The `type` of a content block, of those that matter here.
fn kind_of(block: &[u8]) -> Option<&'static str> {
    let kind = object::member(block, "type")?;
    [("text", &b"\"text\""[..]), ("resource_link", b"\"resource_link\""), ("audio", b"\"audio\"")]
        .into_iter()
        .find(|(_, word)| *word == kind.value)
        .map(|(kind, _)| kind)
}

/// Whether a client of that revision does not know such a content block.
fn is_unknown(block: &[u8], revision: Revision) -> bool {
    match kind_of(block) {
        Some("resource_link") => !revision.has_resource_links(),
        Some("audio") => !revision.has_audio(),
        _ => false,
    }
}

/// A content block that a client of that revision knows: links came with 2025-06-18, audio with 2025-03-26.
fn block(block: &[u8], revision: Revision) -> Pieces<'_> {
    let text = |name| object::member(block, name).and_then(|member| object::string(member.value));
    match kind_of(block) {
        Some("resource_link") if !revision.has_resource_links() => {
            let name = text("title").or_else(|| text("name")).unwrap_or_default();
            let uri = text("uri").unwrap_or_default();
            serde_json::json!({ "type": "text", "text": format!("{name}: {uri}") }).to_string().into_bytes().into()
        }
        Some("audio") if !revision.has_audio() => {
            let member = |name| object::member(block, name).map_or(&b"\"\""[..], |member| member.value);
            let mut out = Pieces::from(br#"{"type":"resource","resource":{"uri":"audio:content","mimeType":"#.to_vec());
            out.keep(member("mimeType"));
            out.add(br#","blob":"#);
            out.keep(member("data"));
            out.add(b"}}");
            out
        }
        _ => block.into(),
    }
}

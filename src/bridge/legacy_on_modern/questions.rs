//! A modern child's `input_required` as requests to a legacy client, and the client's answers as the retry's `inputResponses`
//! (2026-07-28, Multi Round-Trip Requests; 2025-11-25, Elicitation, Sampling, Roots).

use super::Retry;
use crate::bridge::subject::Subject;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::meta::Ask;
use crate::protocol::object::{self, Edit, Member};
use crate::protocol::revision::Revision;
use crate::protocol::scan::Value;

/// How many questions may be asked in one round.
const MAX_QUESTIONS: usize = 64;

/// One entry of `inputRequests`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Its name, a JSON string.
    key: Vec<u8>,
    pub(crate) subject: Subject,
    params: Vec<u8>,
}

/// What a child wants to know before it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) questions: Vec<Question>,
    /// `requestState`, JSON.
    state: Option<Vec<u8>>,
}

impl Round {
    /// Of an `input_required` result; else why it cannot be one.
    pub(crate) fn read(result: &[u8]) -> Result<Round, &'static str> {
        let state = object::member(result, "requestState").map(|state| state.value.to_vec());
        let asked = object::member(result, "inputRequests").filter(|asked| asked.kind == Value::Object);
        let asked = asked.map(|asked| object::members(asked.value)).unwrap_or_default();
        if asked.is_empty() && state.is_none() {
            return Err("the server wants something and does not say what");
        }
        if asked.len() > MAX_QUESTIONS {
            return Err("the server asks more than 64 questions at once");
        }
        let questions: Option<Vec<Question>> = asked.iter().map(Question::read).collect();
        Ok(Round {
            questions: questions.ok_or("the server asks something that clients of this revision cannot be asked")?,
            state,
        })
    }

    /// The retry, with an answer for each question, in their order.
    pub(crate) fn retry(self, answers: &[Vec<u8>]) -> Retry {
        let entries = self.questions.iter().zip(answers).map(|(question, answer)| [&question.key, &b":"[..], answer].concat());
        let entries: Vec<Vec<u8>> = entries.collect();
        let responses = [b"{", entries.join(&b","[..]).as_slice(), b"}"].concat();
        Retry { responses: (!entries.is_empty()).then_some(responses), state: self.state }
    }
}

impl Question {
    fn read(entry: &Member<'_>) -> Option<Question> {
        let method = object::string(object::member(entry.value, "method")?.value)?;
        let params = object::member(entry.value, "params").filter(|params| params.kind == Value::Object);
        let params = params.map_or(&b"{}"[..], |params| params.value);
        let subject = Subject::of(|word| word == method, params)?;
        Some(Question { key: entry.name().to_vec(), subject, params: params.to_vec() })
    }

    /// The request to the client. A URL elicitation gets the id that 2025-11-25 wants.
    pub(crate) fn request(&self, id: u64, elicitation: Option<&str>, revision: Revision) -> Vec<u8> {
        let params = match self.subject {
            Subject::Roots => b"{}".to_vec(),
            Subject::Url => {
                let id = object::quoted(elicitation.unwrap_or_default());
                let edit = |member: &Member<'_>| if member.is("elicitationId") { Edit::Drop } else { Edit::Keep };
                object::rewrite(&self.params, &[], edit, &[("elicitationId", &id)])
            }
            Subject::Form if !revision.has_titled_enums() => with_old_forms(&self.params),
            Subject::Sampling | Subject::SamplingTools if !revision.has_content_arrays() => with_single_contents(&self.params),
            _ => self.params.clone(),
        };
        let method = object::quoted(self.subject.method());
        let id = id.to_string();
        let members: [(&str, &[u8]); 4] =
            [("jsonrpc", b"\"2.0\""), ("id", id.as_bytes()), ("method", &method), ("params", &params)];
        crate::protocol::splice::splice(&object::rewrite(b"{}", &members, |_| Edit::Keep, &[]), &mut [], b"")
    }

    /// What goes into the retry for the client's answer; else why the call fails: a retry cannot say that a client could not
    /// answer.
    pub(crate) fn response(&self, text: &[u8], envelope: &Envelope) -> Result<Vec<u8>, String> {
        match (envelope.result, self.subject) {
            (Some(result), _) => Ok(result.of(text).to_vec()),
            (None, Subject::Form | Subject::Url) => Ok(CANCEL.to_vec()),
            (None, subject) => {
                let error = envelope.error.map_or(&b"{}"[..], |error| error.of(text));
                let message = object::member(error, "message").and_then(|message| object::string(message.value));
                Err(format!("the client refused {}: {}", subject.method(), message.unwrap_or_default()))
            }
        }
    }

    /// What goes into the retry where the client did not answer in time; else why the call fails.
    pub(crate) fn unanswered(&self) -> Result<Vec<u8>, String> {
        match self.subject {
            Subject::Form | Subject::Url => Ok(CANCEL.to_vec()),
            subject => Err(format!("the client did not answer {} in time (--question-timeout)", subject.method())),
        }
    }
}

const CANCEL: &[u8] = br#"{"action":"cancel"}"#;

/// 2025-06-18 has titles of choices beside the choices, not in `oneOf`.
fn with_old_forms(params: &[u8]) -> Vec<u8> {
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
        let each = |member: &Member<'_>| Edit::Put(property(member.value));
        put(schema, "properties", |properties| object::rewrite(properties, &[], each, &[]))
    };
    put(params, "requestedSchema", properties)
}

/// Up to 2025-06-18 the content of a sampling message is one block.
fn with_single_contents(params: &[u8]) -> Vec<u8> {
    let single = |message: &[u8]| {
        let edit = |member: &Member<'_>| match object::elements(member.value).as_slice() {
            [only] if member.is("content") => Edit::Put(only.to_vec()),
            _ => Edit::Keep,
        };
        object::rewrite(message, &[], edit, &[])
    };
    let edit = |member: &Member<'_>| {
        if member.is("messages") && member.kind == Value::Array {
            Edit::Put(object::map_elements(member.value, single))
        } else {
            Edit::Keep
        }
    };
    object::rewrite(params, &[], edit, &[])
}

fn put(object: &[u8], name: &str, write: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let is_it = |member: &Member<'_>| member.is(name) && member.kind == Value::Object;
    object::rewrite(object, &[], |member| if is_it(member) { Edit::Put(write(member.value)) } else { Edit::Keep }, &[])
}

/// The answer to a call that cannot be finished: to a tool's caller as the tool's error, which its model reads.
pub(crate) fn failed(ask: Ask, id: &[u8], why: &str) -> Vec<u8> {
    if ask == Ask::CallTool {
        let result = serde_json::json!({ "content": [{ "type": "text", "text": why }], "isError": true });
        return jsonrpc::result(id, result.to_string().as_bytes());
    }
    jsonrpc::error(Some(id), jsonrpc::INTERNAL_ERROR, why, None)
}

/// 2025-11-25, Elicitation, URL Mode: what was begun elsewhere is done.
pub(crate) fn elicitation_complete(elicitation: &str) -> Vec<u8> {
    let params = serde_json::json!({ "elicitationId": elicitation });
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{params}}}"#).into_bytes()
}

/// The client is told that a question need not be answered any more.
pub(crate) fn withdrawal(id: u64, reason: &str) -> Vec<u8> {
    let params = serde_json::json!({ "requestId": id, "reason": reason });
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#).into_bytes()
}

//! A modern child's `input_required` as requests to a legacy client, and the client's answers as the retry's `inputResponses`
//! (2026-07-28, Multi Round-Trip Requests; 2025-11-25, Elicitation, Sampling, Roots).

use super::{Retry, shapes};
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

    /// Of a request that a legacy child wrote; `None` if it is no question that crosses.
    pub(crate) fn of_request(text: &[u8], envelope: &Envelope) -> Option<Question> {
        let params = envelope.params.map_or(&b"{}"[..], |params| params.of(text));
        let subject = Subject::of(|word| envelope.is_method(text, word), params)?;
        Some(Question { key: Vec::new(), subject, params: params.to_vec() })
    }

    /// Why a client of that revision cannot be asked this, if it cannot: its revision has no shape for it.
    pub(crate) fn fault(&self, revision: Revision) -> Option<&'static str> {
        match self.subject {
            Subject::Form if !revision.has_titled_enums() && shapes::has_choice_of_several(&self.params) => {
                Some("the server asks for a choice of several, which the client's revision does not have")
            }
            Subject::Sampling | Subject::SamplingTools if !shapes::fits(&self.params, revision) => {
                Some("the server asks with content that the client's revision does not have")
            }
            _ => None,
        }
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
            Subject::Form if !revision.has_titled_enums() => shapes::with_old_forms(&self.params),
            Subject::Form => self.params.clone(),
            Subject::Sampling | Subject::SamplingTools => shapes::sampling(&self.params, revision),
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

/// The answer to a call that cannot be finished: to a tool's caller as the tool's error, which its model reads.
pub(crate) fn failed(ask: Ask, id: &[u8], why: &str) -> Vec<u8> {
    if ask == Ask::CallTool {
        let result = serde_json::json!({ "content": [{ "type": "text", "text": why }], "isError": true });
        return jsonrpc::result(id, result.to_string().as_bytes());
    }
    jsonrpc::error(Some(id), jsonrpc::INTERNAL_ERROR, why, None)
}

/// Whether the user agreed to what an elicitation asked.
pub(crate) fn is_accepted(answer: &[u8]) -> bool {
    object::member(answer, "action").is_some_and(|action| action.value == b"\"accept\"")
}

/// 2025-11-25, Elicitation, URL Mode: what was begun elsewhere is done.
pub(crate) fn elicitation_complete(elicitation: &str) -> Vec<u8> {
    let params = serde_json::json!({ "elicitationId": elicitation });
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{params}}}"#).into_bytes()
}

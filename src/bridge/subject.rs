//! What a server can ask a client, and what the client must have declared for it.

use serde_json::{Value, json};

use super::capabilities::Declared;
use crate::protocol::object;

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Form,
    Url,
    Sampling,
    /// Sampling with tools.
    SamplingTools,
    Roots,
}

impl Subject {
    /// Of a method, which `is_method` tells, and its `params`; `None` if it is no question that crosses.
    pub(crate) fn of(is_method: impl Fn(&str) -> bool, params: &[u8]) -> Option<Subject> {
        let has = |name| object::member(params, name).is_some();
        if is_method("elicitation/create") {
            let is_url = object::member(params, "mode").is_some_and(|mode| mode.value == b"\"url\"");
            Some(if is_url { Subject::Url } else { Subject::Form })
        } else if is_method("sampling/createMessage") {
            Some(if has("tools") || has("toolChoice") { Subject::SamplingTools } else { Subject::Sampling })
        } else {
            is_method("roots/list").then_some(Subject::Roots)
        }
    }

    pub(crate) fn kind(self) -> &'static str {
        match self {
            Subject::Form | Subject::Url => "elicitation",
            Subject::Sampling | Subject::SamplingTools => "sampling",
            Subject::Roots => "roots",
        }
    }

    pub(crate) fn method(self) -> &'static str {
        match self {
            Subject::Form | Subject::Url => "elicitation/create",
            Subject::Sampling | Subject::SamplingTools => "sampling/createMessage",
            Subject::Roots => "roots/list",
        }
    }

    pub(crate) fn is_declared(self, declared: Declared) -> bool {
        match self {
            Subject::Form => declared.form,
            Subject::Url => declared.url,
            Subject::Sampling => declared.sampling,
            Subject::SamplingTools => declared.sampling_tools,
            Subject::Roots => declared.roots,
        }
    }

    /// What the error −32021 says is missing.
    pub(crate) fn required(self) -> Value {
        match self {
            Subject::Form => json!({ "elicitation": { "form": {} } }),
            Subject::Url => json!({ "elicitation": { "url": {} } }),
            Subject::Sampling => json!({ "sampling": {} }),
            Subject::SamplingTools => json!({ "sampling": { "tools": {} } }),
            Subject::Roots => json!({ "roots": {} }),
        }
    }
}

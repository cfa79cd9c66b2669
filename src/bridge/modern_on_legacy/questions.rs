//! Questions of a legacy child as `inputRequests` of a modern result, and `inputResponses` as answers to them (2026-07-28,
//! Multi Round-Trip Requests; 2025-11-25, Elicitation, Sampling, Roots).

use crate::bridge::capabilities::Declared;
use crate::bridge::subject::Subject;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::object::{self, Edit};
use crate::protocol::scan::Value;

/// A request of a child to its client.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// As the child wrote it.
    pub(crate) id: Box<[u8]>,
    pub(crate) subject: Subject,
    /// `params` without what modern questions do not have.
    params: Vec<u8>,
    /// Its name toward the client; empty until it is asked.
    pub(crate) key: String,
}

impl Question {
    /// `None` if it is no question that crosses.
    pub(crate) fn read(text: &[u8], envelope: &Envelope) -> Option<Question> {
        let params = envelope.params.map_or(&b"{}"[..], |params| params.of(text));
        let subject = Subject::of(|word| envelope.is_method(text, word), params)?;
        let params = if subject == Subject::Roots { b"{}".to_vec() } else { modern_params(params) };
        Some(Question { id: envelope.id?.of(text).into(), subject, params, key: String::new() })
    }

    /// One of the places that the error −32042 sends the user to; and its elicitation id.
    pub(crate) fn from_url(entry: &[u8]) -> (Question, Option<String>) {
        let id = object::member(entry, "elicitationId").and_then(|id| object::string(id.value));
        let question = Question { id: Box::default(), subject: Subject::Url, params: modern_params(entry), key: String::new() };
        (question, id)
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.subject.kind()
    }

    pub(crate) fn is_declared(&self, declared: Declared) -> bool {
        self.subject.is_declared(declared)
    }

    /// The `InputRequest`.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        [br#"{"method":""#, self.subject.method().as_bytes(), br#"","params":"#, &self.params, b"}"].concat()
    }

    /// Why a value cannot be the answer; its inner shape is the child's to judge.
    pub(crate) fn fault_of(&self, kind: Value, value: &[u8]) -> Option<&'static str> {
        let has = |name| object::member(value, name).is_some();
        match self.kind() {
            _ if kind != Value::Object => Some("must be an object"),
            "elicitation" if !has("action") => Some("must have an action"),
            "sampling" if !(has("role") && has("content") && has("model")) => Some("must have role, content and model"),
            "roots" if object::member(value, "roots").is_none_or(|roots| roots.kind != Value::Array) => {
                Some("must have an array of roots")
            }
            _ => None,
        }
    }

    /// The line that answers the child with what the client said.
    pub(crate) fn answered(&self, value: &[u8]) -> Vec<u8> {
        let mut line = jsonrpc::result(&self.id, value);
        line.push(b'\n');
        line
    }

    /// The line that tells the child that it will not be answered.
    pub(crate) fn refused(&self, text: &str) -> Vec<u8> {
        jsonrpc::refusal(&self.id, jsonrpc::INTERNAL_ERROR, text)
    }

    /// The line for a child whose client cannot be asked that (2025-11-25: Elicitation, Error Handling; Sampling and Roots have
    /// the method not found).
    pub(crate) fn not_declared(&self) -> Vec<u8> {
        let code = if self.kind() == "elicitation" { jsonrpc::INVALID_PARAMS } else { jsonrpc::METHOD_NOT_FOUND };
        jsonrpc::refusal(&self.id, code, "the client did not declare that it can be asked this")
    }

    /// The line for a child whose client did not come back: the user said no.
    pub(crate) fn given_up(&self) -> Vec<u8> {
        match self.kind() {
            "elicitation" => self.answered(br#"{"action":"cancel"}"#),
            "sampling" => jsonrpc::refusal(&self.id, -1, "the user did not answer (--park-ttl)"),
            _ => self.refused("the client did not answer (--park-ttl)"),
        }
    }

    /// What the error −32021 says is missing.
    pub(crate) fn required(&self) -> serde_json::Value {
        self.subject.required()
    }

    /// 2026-07-28, Basic, Error Codes: a capability that the request did not declare.
    pub(crate) fn missing_capability(&self, client_id: &[u8]) -> Vec<u8> {
        let data = serde_json::json!({ "requiredCapabilities": self.required() });
        let text = format!("the server wants to ask for {}, which the client did not declare", self.kind());
        jsonrpc::error(Some(client_id), jsonrpc::MISSING_CAPABILITY, &text, Some(data))
    }
}

fn modern_params(params: &[u8]) -> Vec<u8> {
    let is_gone = |member: &object::Member<'_>| member.is("_meta") || member.is("task") || member.is("elicitationId");
    object::rewrite(params, &[], |member| if is_gone(member) { Edit::Drop } else { Edit::Keep }, &[])
}

/// `inputRequests`.
pub(crate) fn requests(questions: &[Question]) -> Vec<u8> {
    let members: Vec<Vec<u8>> =
        questions.iter().map(|question| [object::quoted(&question.key).as_slice(), b":", &question.to_json()].concat()).collect();
    [b"{", members.join(&b","[..]).as_slice(), b"}"].concat()
}

/// Gives the questions that have none yet their keys: unique in their call, stable for their life.
pub(crate) fn name(questions: &mut [Question], count: &mut u32) {
    for question in questions.iter_mut().filter(|question| question.key.is_empty()) {
        *count += 1;
        question.key = format!("{}-{count}", question.kind());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(text: &str) -> Question {
        let envelope = jsonrpc::read(text.as_bytes()).expect("a message");
        Question::read(text.as_bytes(), &envelope).expect("a question")
    }

    #[test]
    fn a_question_is_asked_as_a_modern_one() {
        let mut questions = [
            question(
                r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"mode":"url","message":"m","url":"u","elicitationId":"e","_meta":{"x":1},"task":{}}}"#,
            ),
            question(r#"{"jsonrpc":"2.0","id":0,"method":"roots/list"}"#),
        ];
        let mut count = 4;
        name(&mut questions, &mut count);
        assert_eq!(
            String::from_utf8_lossy(&requests(&questions)),
            r#"{"elicitation-5":{"method":"elicitation/create","params":{"mode":"url","message":"m","url":"u"}},"roots-6":{"method":"roots/list","params":{}}}"#
        );
        assert_eq!(questions[1].answered(br#"{"roots":[]}"#), b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"roots\":[]}}\n");
    }

    #[test]
    fn what_crosses_is_one_line() {
        let form = question("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"elicitation/create\",\"params\":{\"message\":\r\"m\"}}");
        let asked = jsonrpc::result(b"1", &requests(std::slice::from_ref(&form)));
        assert!(!asked.contains(&b'\r'), "{}", String::from_utf8_lossy(&asked));
        assert_eq!(
            form.answered(b"{\r\n\"action\":\"accept\"}"),
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{  \"action\":\"accept\"}}\n"
        );
    }

    #[test]
    fn answers_of_the_wrong_kind_are_found() {
        let form = question(r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{}}"#);
        let sampling = question(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#);
        let roots = question(r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#);
        for (question, kind, value, good) in [
            (&form, Value::Object, r#"{"action":"accept"}"#, true),
            (&form, Value::Object, r#"{"content":{}}"#, false),
            (&form, Value::String, r#""accept""#, false),
            (&sampling, Value::Object, r#"{"role":"assistant","content":{},"model":"m"}"#, true),
            (&sampling, Value::Object, r#"{"role":"assistant","content":{}}"#, false),
            (&roots, Value::Object, r#"{"roots":[]}"#, true),
            (&roots, Value::Object, r#"{"roots":{}}"#, false),
            (&roots, Value::Array, "[]", false),
        ] {
            assert_eq!(question.fault_of(kind, value.as_bytes()).is_none(), good, "{value}");
        }
    }

    #[test]
    fn sampling_with_tools_needs_more_than_sampling() {
        let tools = question(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"tools":[]}}"#);
        let declared = Declared { sampling: true, ..Declared::default() };
        assert!(!tools.is_declared(declared));
        assert_eq!(tools.required().to_string(), r#"{"sampling":{"tools":{}}}"#);
        assert!(tools.is_declared(Declared { sampling_tools: true, ..declared }));
    }
}

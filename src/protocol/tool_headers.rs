//! Which arguments of which tools are mirrored in `Mcp-Param-*` headers, learnt from a child's `tools/list`, and whether a call
//! keeps to it. A child has no headers, so only we can check. Whoever holds this asks the child again when its list changes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use http::{HeaderMap, HeaderName};
use thiserror::Error;

use super::mirror::{self, Numbers};
use super::scan::{Scanner, Value};
use super::splice;

/// The tools of one server by their names.
pub(crate) struct ToolHeaders {
    tools: HashMap<String, Vec<Param>>,
}

/// Not the result of a `tools/list`: no object with a list of tools and at most one cursor, which is a string.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not a list of tools")]
pub(crate) struct NotAList;

impl ToolHeaders {
    pub(crate) fn new() -> Self {
        ToolHeaders { tools: HashMap::new() }
    }

    /// Adds the tools of one page, `result` of a `tools/list`. Gives back the token of its `nextCursor`, if there is one.
    ///
    /// A tool whose annotations are against the rules has none: clients must not show it, and what they then send is not
    /// known (2026-07-28, Streamable HTTP, Schema Extension). The same for a name that is listed twice with other headers.
    pub(crate) fn add_page(&mut self, result: &[u8]) -> Result<Option<Vec<u8>>, NotAList> {
        let tools = member(result, br#""tools""#).map_err(|Unclear| NotAList)?.ok_or(NotAList)?;
        let cursor = match member(result, br#""nextCursor""#).map_err(|Unclear| NotAList)? {
            None | Some(b"null") => None,
            Some(cursor) if cursor.starts_with(b"\"") => Some(cursor.to_vec()),
            Some(_) => return Err(NotAList),
        };
        for tool in elements(tools).map_err(|Invalid| NotAList)? {
            if let Some((name, params)) = read_tool(tool) {
                let known = self.tools.entry(name).or_insert_with(|| params.clone());
                if *known != params {
                    known.clear();
                }
            }
        }
        Ok(cursor)
    }

    /// Whether a tool of that name was listed.
    pub(crate) fn knows(&self, tool: &str) -> bool {
        self.tools.contains_key(tool)
    }

    /// Checks the headers of a call against its `params.arguments`. Headers that the tool does not ask for are not looked at.
    ///
    /// 2026-07-28, Streamable HTTP, Server Behavior for Custom Headers: a value must have its header, and they must match; null
    /// or nothing must have none. No header can carry an object or an array, so what holds for nothing holds for them: SDK
    /// clients send none, and the child refuses the call in better words.
    ///
    /// # Errors
    /// The message of a `HeaderMismatch` error.
    pub(crate) fn check(&self, tool: &str, arguments: Option<&[u8]>, headers: &HeaderMap) -> Result<(), String> {
        for Param { path, header, numbers } in self.tools.get(tool).into_iter().flatten() {
            let Ok(value) = find(arguments, path) else {
                return Err(format!("Header mismatch: the arguments name the value of {header} twice"));
            };
            match value {
                Some(token) if !token.starts_with(b"{") && !token.starts_with(b"[") && token != b"null" => {
                    mirror::agree(headers, header, token, *numbers)?;
                }
                _ if headers.contains_key(header) => {
                    return Err(format!("Header mismatch: {header} is sent, and the arguments have no value for it"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// One argument that is mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Param {
    /// The names on the way to it, as `splice::canonical` spells their tokens.
    path: Vec<Vec<u8>>,
    header: HeaderName,
    numbers: Numbers,
}

/// Its name and what it wants; `None` for a tool that nobody can call, because it has no readable name.
fn read_tool(tool: &[u8]) -> Option<(String, Vec<Param>)> {
    let name = serde_json::from_slice(member(tool, br#""name""#).ok()??).ok()?;
    let mut params = Vec::new();
    let read = match member(tool, br#""inputSchema""#) {
        Ok(Some(schema)) => collect(schema, Some(&mut Vec::new()), &mut params),
        Ok(None) => Ok(()),
        Err(Unclear) => Err(Invalid),
    };
    if read == Err(Invalid) {
        params.clear();
    }
    Some((name, params))
}

/// A schema has an annotation against the rules, or cannot be read.
#[derive(Debug, PartialEq, Eq)]
struct Invalid;

/// Collects the annotations of a schema and of all that it holds. `path` is how it is reached by `properties` alone; `None` once
/// another keyword was passed, below which no annotation may stand (2026-07-28, Streamable HTTP, Schema Extension).
fn collect(schema: &[u8], mut path: Option<&mut Vec<Vec<u8>>>, params: &mut Vec<Param>) -> Result<(), Invalid> {
    match schema.first() {
        Some(b'{') => {}
        Some(b'[') => return elements(schema)?.into_iter().try_for_each(|schema| collect(schema, None, params)),
        _ => return Ok(()),
    }
    let keywords = members(schema)?;
    if let Some(annotation) = keywords.get(&br#""x-mcp-header""#[..]) {
        let path = path.as_deref().filter(|path| !path.is_empty()).ok_or(Invalid)?;
        let param = read_param(annotation, keywords.get(&br#""type""#[..]).copied(), path)?;
        if params.iter().any(|other| other.header == param.header) {
            return Err(Invalid);
        }
        params.push(param);
    }
    for (keyword, value) in keywords {
        match (&*keyword, value) {
            (br#""properties""#, [b'{', ..]) => {
                for (name, schema) in members(value)? {
                    let Some(path) = path.as_deref_mut() else {
                        collect(schema, None, params)?;
                        continue;
                    };
                    path.push(name.into_owned());
                    collect(schema, Some(path), params)?;
                    path.pop();
                }
            }
            // The names of their members are the author's.
            (
                br#""patternProperties""# | br#""dependentSchemas""# | br#""dependencies""# | br#""$defs""# | br#""definitions""#,
                [b'{', ..],
            ) => members(value)?.into_values().try_for_each(|schema| collect(schema, None, params))?,
            // Data, no schemas.
            (br#""const""# | br#""enum""# | br#""default""# | br#""examples""# | br#""dependentRequired""#, _) => {}
            _ => collect(value, None, params)?,
        }
    }
    Ok(())
}

fn read_param(annotation: &[u8], kind: Option<&[u8]>, path: &[Vec<u8>]) -> Result<Param, Invalid> {
    let numbers = match kind.map(splice::canonical).as_deref() {
        Some(br#""integer""#) => Numbers::ByValue,
        Some(br#""string""# | br#""boolean""#) => Numbers::AsWritten,
        _ => return Err(Invalid),
    };
    let name: String = serde_json::from_slice(annotation).map_err(|_| Invalid)?;
    if name.is_empty() {
        return Err(Invalid);
    }
    // A field name is a token of RFC 9110, in lower case here: equal ones are equal whatever their case was.
    let header = HeaderName::try_from(format!("mcp-param-{name}")).map_err(|_| Invalid)?;
    Ok(Param { path: path.to_vec(), header, numbers })
}

/// Every member of a JSON object, by the token of its name as `splice::canonical` spells it. No name may stand twice.
fn members(object: &[u8]) -> Result<BTreeMap<Cow<'_, [u8]>, &[u8]>, Invalid> {
    let mut members = BTreeMap::new();
    let mut stands_twice = false;
    let walked = Scanner::new(object).object(0, |scanner, name| {
        let value = scanner.value(1)?.1.of(object);
        stands_twice |= members.insert(splice::canonical(name.token.of(object)), value).is_some();
        Ok(())
    });
    if walked.is_err() || stands_twice { Err(Invalid) } else { Ok(members) }
}

/// Every element of a JSON array.
fn elements(array: &[u8]) -> Result<Vec<&[u8]>, Invalid> {
    let mut elements = Vec::new();
    let walked = Scanner::new(array).array(0, |scanner| {
        elements.push(scanner.value(1)?.1.of(array));
        Ok(())
    });
    walked.map(|()| elements).map_err(|_| Invalid)
}

/// What stands at a path cannot be told: a name on it stands twice, and which of them the child reads is not known.
#[derive(Debug)]
struct Unclear;

fn find<'a>(arguments: Option<&'a [u8]>, path: &[Vec<u8>]) -> Result<Option<&'a [u8]>, Unclear> {
    path.iter().try_fold(arguments, |value, name| value.map_or(Ok(None), |value| member(value, name)))
}

/// The member of that name, if the text is a JSON object with one. Other names may stand twice.
fn member<'a>(text: &'a [u8], name: &[u8]) -> Result<Option<&'a [u8]>, Unclear> {
    let mut scanner = Scanner::new(text);
    if !matches!(scanner.peek(), Ok(Value::Object)) {
        return Ok(None);
    }
    let (mut found, mut stands_twice) = (None, false);
    let walked = scanner.object(0, |scanner, member| {
        let value = scanner.value(1)?.1.of(text);
        if *splice::canonical(member.token.of(text)) == *name {
            stands_twice |= found.replace(value).is_some();
        }
        Ok(())
    });
    if walked.is_err() || stands_twice { Err(Unclear) } else { Ok(found) }
}

#[cfg(test)]
mod tests;

//! One pass over JSON text: checks its grammar (RFC 8259) and says where things are, without building a tree. Used by
//! `jsonrpc` to read an envelope. Never allocates, never recurses deeper than the envelope, never changes a byte.

use std::ops::Range;

use self::plain::plain_prefix;

mod plain;

/// Deepest nesting of arrays and objects in one message. Deeper ones are refused before a child's parser sees them.
pub(crate) const MAX_DEPTH: usize = 128;

/// A half-open range of bytes in the message it was read from. Small, because a message's envelope is moved often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Places beyond four gigabytes are none: no text is read that far.
    pub(crate) fn new(range: Range<usize>) -> Span {
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span { start: narrow(range.start), end: narrow(range.end) }
    }

    pub(crate) fn of<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.range()]
    }

    pub(crate) fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Why a text is not JSON that we pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not JSON, at this byte offset.
    Syntax(usize),
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
}

/// A string token: its quotes included, and whether a backslash stands in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Str {
    pub(crate) token: Span,
    pub(crate) escaped: bool,
}

impl Str {
    /// The text between the quotes, as written.
    pub(crate) fn raw<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.token.start as usize + 1..self.token.end as usize - 1]
    }

    /// Whether the string, with its escapes undone, is `word`. `word` must be plain ASCII.
    ///
    /// `"m\u0065thod"` is the same member name as `"method"` to every JSON parser, so it must be to us.
    #[inline(always)] // the length of a constant word decides nearly always
    pub(crate) fn is(&self, text: &[u8], word: &str) -> bool {
        if self.escaped {
            return self.spells(text, word);
        }
        self.token.range().len() == word.len() + 2 && self.raw(text) == word.as_bytes()
    }

    #[cold]
    fn spells(&self, text: &[u8], word: &str) -> bool {
        let mut rest = self.raw(text);
        for expected in word.bytes() {
            let Some((byte, used)) = ascii_at(rest) else { return false };
            if byte != expected {
                return false;
            }
            rest = &rest[used..];
        }
        rest.is_empty()
    }
}

/// What kind of value a token is; containers and literals need no more for the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    String,
    Integer,
    /// A number with a fraction or an exponent.
    Decimal,
    Null,
    Bool,
    Object,
    Array,
}

/// A position in a JSON text.
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A text of more than four gigabytes is read as if it were cut there, and so is not JSON.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Scanner { text: text.get(..u32::MAX as usize).unwrap_or(text), at: 0 }
    }

    /// The kind of the value that begins here, by its first byte (numbers count as [`Value::Integer`]).
    pub(crate) fn peek(&mut self) -> Result<Value, Fault> {
        self.space();
        match self.text.get(self.at) {
            Some(b'{') => Ok(Value::Object),
            Some(b'[') => Ok(Value::Array),
            Some(b'"') => Ok(Value::String),
            Some(b'n') => Ok(Value::Null),
            Some(b't' | b'f') => Ok(Value::Bool),
            Some(b'-' | b'0'..=b'9') => Ok(Value::Integer),
            _ => Err(self.fault()),
        }
    }

    /// Passes over one whole value that begins at `depth` containers deep; says its kind and where it stood.
    pub(crate) fn value(&mut self, depth: usize) -> Result<(Value, Span), Fault> {
        self.space();
        let start = self.at;
        let container = match self.text.get(start) {
            Some(b'{') => Some(Value::Object),
            Some(b'[') => Some(Value::Array),
            _ => None,
        };
        let kind = match container {
            Some(kind) => self.containers(depth).map(|()| kind)?,
            None => self.scalar()?,
        };
        Ok((kind, Span::new(start..self.at)))
    }

    /// Walks the members of the object that begins here. `member` is called with each name, and must pass its value.
    pub(crate) fn object(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&mut Self, Str) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if depth >= MAX_DEPTH {
            return Err(Fault::TooDeep);
        }
        self.byte(b'{')?;
        self.space();
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let name = self.name()?;
            member(self, name)?;
            self.space();
            if self.eat(b'}') {
                return Ok(());
            }
            self.byte(b',')?;
        }
    }

    /// Walks the elements of the array that begins here. `element` must pass each.
    pub(crate) fn array(&mut self, depth: usize, mut element: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        if depth >= MAX_DEPTH {
            return Err(Fault::TooDeep);
        }
        self.byte(b'[')?;
        self.space();
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            self.space();
            if self.eat(b']') {
                return Ok(());
            }
            self.byte(b',')?;
        }
    }

    /// How far the text has been read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Only white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.fault()) }
    }

    /// The string that begins here.
    #[inline(always)]
    pub(crate) fn string(&mut self) -> Result<Str, Fault> {
        self.space();
        let start = self.at;
        let escaped = self.pass_string()?;
        Ok(Str { token: Span::new(start..self.at), escaped })
    }

    /// Passes over the string that begins here; says whether a backslash stands in it.
    #[inline(always)]
    fn pass_string(&mut self) -> Result<bool, Fault> {
        if !self.eat(b'"') {
            return Err(self.fault());
        }
        self.at += plain_prefix(&self.text[self.at..]);
        if self.eat(b'"') { Ok(false) } else { self.pass_escapes() }
    }

    /// The rest of a string, from what needs attention on.
    #[inline(never)]
    fn pass_escapes(&mut self) -> Result<bool, Fault> {
        let mut escaped = false;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.fault()),
            }
            self.at += plain_prefix(&self.text[self.at..]);
        }
    }

    fn fault(&self) -> Fault {
        Fault::Syntax(self.at)
    }

    #[inline(always)] // between most tokens there is none
    fn space(&mut self) {
        if self.text.get(self.at).is_some_and(|byte| *byte <= b' ') {
            self.spaces();
        }
    }

    fn spaces(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn byte(&mut self, byte: u8) -> Result<(), Fault> {
        self.space();
        if self.eat(byte) { Ok(()) } else { Err(self.fault()) }
    }

    fn name(&mut self) -> Result<Str, Fault> {
        let name = self.string()?;
        self.byte(b':')?;
        Ok(name)
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.text.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.text.get(self.at + 1..self.at + 5).ok_or(self.fault())?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(self.fault());
                }
                self.at += 5;
            }
            _ => return Err(self.fault()),
        }
        Ok(())
    }

    fn scalar(&mut self) -> Result<Value, Fault> {
        match self.text.get(self.at) {
            Some(b'"') => self.pass_string().map(|_| Value::String),
            Some(b't') => self.literal(b"true", Value::Bool),
            Some(b'f') => self.literal(b"false", Value::Bool),
            Some(b'n') => self.literal(b"null", Value::Null),
            _ => self.number(),
        }
    }

    fn literal(&mut self, word: &[u8], kind: Value) -> Result<Value, Fault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.fault());
        }
        self.at += word.len();
        Ok(kind)
    }

    fn number(&mut self) -> Result<Value, Fault> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        match self.text.get(self.at) {
            Some(b'.' | b'e' | b'E') => self.decimal(),
            _ => Ok(Value::Integer),
        }
    }

    /// What stands behind the whole part of a number.
    fn decimal(&mut self) -> Result<Value, Fault> {
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        Ok(Value::Decimal)
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(self.fault()) } else { Ok(()) }
    }

    /// Passes over one array or object, however deep, with a bit a level instead of a stack frame.
    fn containers(&mut self, depth: usize) -> Result<(), Fault> {
        let mut objects: u128 = 0; // bit 0 is the innermost open container: 1 an object, 0 an array
        let mut open = 0;
        loop {
            self.space();
            let opener = self.text.get(self.at).copied();
            if let Some(b'{' | b'[') = opener {
                let object = opener == Some(b'{');
                self.at += 1;
                open += 1;
                if depth + open > MAX_DEPTH {
                    return Err(Fault::TooDeep);
                }
                objects = objects << 1 | u128::from(object);
                self.space();
                if !self.eat(if object { b'}' } else { b']' }) {
                    if object {
                        self.name()?;
                    }
                    continue;
                }
                open -= 1;
                objects >>= 1;
            } else {
                self.scalar()?;
            }
            // A value has ended: close what closes with it, then go on to the next one.
            loop {
                if open == 0 {
                    return Ok(());
                }
                let object = objects & 1 == 1;
                self.space();
                if self.eat(b',') {
                    if object {
                        self.name()?;
                    }
                    break;
                }
                self.byte(if object { b'}' } else { b']' })?;
                open -= 1;
                objects >>= 1;
            }
        }
    }
}

/// The ASCII character that begins here, escapes undone, and how many bytes it took.
fn ascii_at(raw: &[u8]) -> Option<(u8, usize)> {
    match *raw {
        [b'\\', b'u', a, b, c, d, ..] => {
            let digits = [a, b, c, d];
            let code = u32::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
            let byte = u8::try_from(code).ok().filter(u8::is_ascii)?;
            Some((byte, 6))
        }
        [b'\\', b'/', ..] => Some((b'/', 2)),
        [byte, ..] if byte != b'\\' && byte.is_ascii() => Some((byte, 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

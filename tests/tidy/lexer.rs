//! Just enough of Rust's grammar to tell words of code from comments, strings, characters and lifetimes.

/// An identifier, `::`, or one other character; comments, literals of text and lifetimes are left out.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) text: String,
}

pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader { rest: source, line: 1 };
    let mut tokens = Vec::new();
    while let Some(text) = reader.next_word() {
        tokens.push(Token { line: reader.line, text: text.to_owned() });
    }
    tokens
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn next_word(&mut self) -> Option<&'a str> {
        loop {
            let first = self.rest.chars().next()?;
            let silent = self.silent();
            if silent > 0 {
                self.take(silent);
                continue;
            }
            let raw = if self.rest.starts_with("r#") { 2 } else { 0 };
            let word = self.rest[raw..].find(|c: char| !is_word(c)).map_or(self.rest.len(), |end| end + raw);
            if is_word(first) && word > raw {
                return self.take(word).get(raw..);
            }
            let length = if self.rest.starts_with("::") { 2 } else { first.len_utf8() };
            return Some(self.take(length));
        }
    }

    /// How many bytes from here on are no code.
    fn silent(&self) -> usize {
        let rest = self.rest;
        if rest.starts_with(char::is_whitespace) {
            return rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
        }
        if rest.starts_with("//") {
            return rest.find('\n').unwrap_or(rest.len());
        }
        if rest.starts_with("/*") {
            return block_comment(rest);
        }
        if rest.starts_with('\'') {
            return quote(rest);
        }
        string(rest)
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// A character with its quotes, or a lifetime.
fn quote(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => escaped(rest, '\''),
        Some((at, c)) if rest[at + c.len_utf8()..].starts_with('\'') => at + c.len_utf8() + 1,
        _ => rest[1..].find(|c: char| !is_word(c)).map_or(rest.len(), |end| end + 1),
    }
}

/// A string of any kind with its prefix and quotes; 0 when there is none here.
fn string(rest: &str) -> usize {
    for prefix in ["", "b", "c"] {
        let Some(body) = rest.strip_prefix(prefix) else { continue };
        if body.starts_with('"') {
            return prefix.len() + escaped(body, '"');
        }
        if prefix == "b" && body.starts_with('\'') {
            return prefix.len() + quote(body);
        }
        if let Some(length) = body.strip_prefix('r').and_then(raw_string) {
            return prefix.len() + 1 + length;
        }
    }
    0
}

/// The hashes, quotes and text of a raw string whose `r` is taken already.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let body = rest[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(rest.len(), |at| hashes + 1 + at + end.len()))
}

/// Up to and with the closing quote, over backslashes.
fn escaped(rest: &str, quote: char) -> usize {
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

//! Holds every public function, type and trait to an example of its own: a code block in its doc comment that is
//! compiled. Does not judge what the example shows, nor look at methods of traits, whose trait has the example.
//!
//! What says `pub` is public: the lint `unreachable_pub` sees to it that nothing says so in vain. Functions for C are
//! none of it, their examples are C.

use super::Token;
use super::{closing, is_test_attribute, skip_attributes};

/// A public item without an example, by the line of its name.
pub(crate) struct Bare {
    pub(crate) line: usize,
    pub(crate) name: String,
}

/// Every public item of the source without an example, functions that macros make included.
pub(crate) fn without_example(source: &str, tokens: &[Token]) -> Vec<Bare> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let Some(name) = public_item(tokens, at) else { continue };
        if in_tests(tokens, at) {
            continue;
        }
        if is(tokens, name, "$") {
            // A macro is given this name, and its docs beside it. Of types the compiler says whether there are any.
            if is(tokens, name - 1, "fn") {
                made_by_macro(&lines, tokens, at, &mut found);
            }
        } else if !is_hidden(docs(&lines, tokens, at)) && !has_example(docs(&lines, tokens, at)) {
            found.push(Bare { line: tokens[name].line, name: tokens[name].text.clone() });
        }
    }
    found
}

/// How many lines of the source stand in examples of doc comments, fences included.
pub(crate) fn example_lines(source: &str) -> usize {
    let mut open = false;
    let mut count = 0;
    for text in source.lines().map(doc_text) {
        let fence = text.is_some_and(is_fence);
        // A block ends with the comment that it stands in, at the latest.
        open &= text.is_some();
        count += usize::from(open || fence);
        open ^= fence;
    }
    count
}

/// Whether `pub fn`, `pub const fn`, `pub struct` or the like begins here; then where its name stands.
fn public_item(tokens: &[Token], at: usize) -> Option<usize> {
    if !is(tokens, at, "pub") {
        return None;
    }
    let mut next = at + 1;
    while ["const", "async", "unsafe"].iter().any(|word| is(tokens, next, word)) {
        next += 1;
    }
    let begins = ["fn", "struct", "enum", "union", "trait"].iter().any(|word| is(tokens, next, word));
    begins.then_some(next + 1)
}

/// The lines of doc comments and attributes before the item whose `pub` is at `at`.
fn docs<'a, 'b>(lines: &'a [&'b str], tokens: &[Token], at: usize) -> &'a [&'b str] {
    let mut first = at;
    while first > 0 && is(tokens, first - 1, "]") {
        let Some(opening) = opening(tokens, first - 1) else { break };
        if opening == 0 || !is(tokens, opening - 1, "#") {
            break;
        }
        first = opening - 1;
    }
    let above = first.checked_sub(1).map_or(0, |before| tokens[before].line);
    between(lines, above, tokens[at].line)
}

/// The lines between two others; none if they are neighbours, or one.
fn between<'a, 'b>(lines: &'a [&'b str], above: usize, below: usize) -> &'a [&'b str] {
    lines.get(above..below - 1).unwrap_or_default()
}

/// Goes over the calls of the macro in whose definition `at` stands: each `name(...)` right inside of the braces is a
/// function, with its docs before it.
fn made_by_macro(lines: &[&str], tokens: &[Token], at: usize, found: &mut Vec<Bare>) {
    let Some(definition) = (0..at).rev().find(|&place| is(tokens, place, "macro_rules")) else { return };
    let Some(name) = tokens.get(definition + 2).map(|token| token.text.as_str()) else { return };
    let called = |place: &usize| is(tokens, *place, name) && is(tokens, place + 1, "!");
    for call in (0..tokens.len()).filter(called) {
        let end = closing(tokens, call + 2);
        let mut start = call + 3;
        while start < end {
            let entry = skip_attributes(tokens, start);
            if !has_example(between(lines, tokens[start - 1].line, tokens[entry].line)) {
                found.push(Bare { line: tokens[entry].line, name: tokens[entry].text.clone() });
            }
            start = end_of_entry(tokens, entry, end) + 1;
        }
    }
}

/// The `;` that ends what a macro is given for one function.
fn end_of_entry(tokens: &[Token], mut at: usize, end: usize) -> usize {
    while at < end && !is(tokens, at, ";") {
        at = if matches!(tokens[at].text.as_str(), "(" | "[" | "{") {
            closing(tokens, at) + 1
        } else {
            at + 1
        };
    }
    at
}

/// Whether the item is public only because the language asks for it, and nobody is shown it.
fn is_hidden(docs: &[&str]) -> bool {
    docs.iter().any(|line| line.trim() == "#[doc(hidden)]")
}

/// Whether one of these lines opens a block of Rust that is compiled.
fn has_example(docs: &[&str]) -> bool {
    let mut open = false;
    for text in docs.iter().filter_map(|line| doc_text(line)).filter(|text| is_fence(text)) {
        if !open && is_compiled(text) {
            return true;
        }
        open = !open;
    }
    false
}

/// What stands behind `///` or `//!`.
fn doc_text(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("///")
        .or_else(|| line.strip_prefix("//!"))
        .or_else(|| line.strip_prefix("#[doc"))
        .map(str::trim)
}

fn is_fence(text: &str) -> bool {
    text.starts_with("```")
}

/// Whether rustdoc compiles a block that is opened by this line.
fn is_compiled(fence: &str) -> bool {
    let words = fence.trim_start_matches('`').split(',').map(str::trim).filter(|word| !word.is_empty());
    words.into_iter().all(|word| matches!(word, "rust" | "no_run" | "should_panic"))
}

/// Whether `at` stands in an item under `#[cfg(test)]`.
fn in_tests(tokens: &[Token], at: usize) -> bool {
    (0..at).filter(|&place| is_test_attribute(tokens, place)).any(|place| {
        let item = skip_attributes(tokens, place);
        at <= super::end_of_item(tokens, item)
    })
}

/// Where the bracket that closes at `at` opens.
fn opening(tokens: &[Token], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for place in (0..=at).rev() {
        match tokens[place].text.as_str() {
            ")" | "]" | "}" => depth += 1,
            "(" | "[" | "{" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(place);
        }
    }
    None
}

fn is(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|token| token.text == text)
}

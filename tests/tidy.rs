//! Reads the source tree and holds it to the rules of the house: who may use whom, where `unsafe` and the clock live,
//! how long a file may be. Each finding names file, line and rule. Does not judge what the compiler and clippy judge.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use lexer::{Token, tokens};

#[path = "tidy/examples.rs"]
mod examples;
#[path = "tidy/lexer.rs"]
mod lexer;
#[path = "tidy/planted.rs"]
mod planted;

#[test]
fn the_source_tree_is_tidy() {
    let tree = read_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(!tree.is_empty(), "no source found");
    let findings = check_tree(&tree);
    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} findings:\n{}", list.len(), list.join("\n"));
}

/// Which rooms there are, and how high they stand: a room uses only rooms with a lower number. Rooms of number 0 may
/// use each other, they are the common ground; `model_cases` is no room but what tests share. `server` and `client`
/// have one number and so do not see each other.
const ROOMS: &[(&str, u8)] = &[
    ("clock", 0),
    ("error", 0),
    ("id", 0),
    ("reason", 0),
    ("peer", 0),
    ("hash", 0),
    ("readiness", 0),
    ("model_cases", 0),
    ("buffer", 1),
    ("bucket", 1),
    ("timer", 1),
    ("drain", 1),
    ("breaker", 1),
    ("lease", 2),
    ("admission", 2),
    ("health", 2),
    ("connection", 3),
    ("net", 4),
    ("server", 5),
    ("client", 5),
    ("admin", 6),
    ("capi", 7),
];

/// Where the word `unsafe` may stand. A name with `/` at its end means everything below it.
const UNSAFE: &[&str] = &["net/sys.rs", "capi/", "client/slots.rs"];

/// Who may ask a `Clock` what time it is, and why. Everybody else is told. Tests may ask wherever they
/// stand.
const CLOCK_READERS: &[(&str, &str)] = &[
    ("server/turn.rs", "once a turn, after the wait"),
    (
        "server/core.rs",
        "when the pool is made, to compare its clock with another, and once for each completed operation, so that its \
         own time counts",
    ),
    ("client/", "the parties that drive themselves"),
    ("admin/", "the parties that drive themselves"),
    ("capi/", "calls that come from outside a turn"),
];

/// What is public there is public to C, whose examples are C.
const OF_C: &str = "capi/";

/// The one file that may ask the operating system.
const CLOCK_SOURCE: &str = "clock.rs";

/// A file with more lines than this, the examples in its docs not counted, holds two ideas.
const MOST_LINES: usize = 600;

/// A file that may hold `unsafe` for one purpose, and how many lines of code it may have to serve it: as many as can be
/// checked at one sitting.
const ISLAND: (&str, usize) = ("client/slots.rs", 200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Layers,
    Unsafe,
    Clock,
    Length,
    Island,
    Sleep,
    Unfinished,
    ModuleDocs,
    Example,
}

#[derive(Debug)]
struct Finding {
    file: String,
    line: usize,
    rule: Rule,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {:?}: {}", self.file, self.line, self.rule, self.what)
    }
}

/// A file below `src`, by its path from there.
struct Source {
    path: String,
    text: String,
}

fn read_tree(root: &Path) -> Vec<Source> {
    let mut tree = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable source folder") {
            let path = entry.expect("readable source folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name =
                    path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
                tree.push(Source {
                    path: name,
                    text: fs::read_to_string(&path).expect("readable source file"),
                });
            }
        }
    }
    tree.sort_by(|one, other| one.path.cmp(&other.path));
    tree
}

fn check_tree(tree: &[Source]) -> Vec<Finding> {
    let test_files = test_files(tree);
    let mut findings: Vec<Finding> = Vec::new();
    for source in tree {
        let mut check = Check::new(source, is_below(&source.path, &test_files));
        check.run();
        findings.append(&mut check.findings);
    }
    findings
}

/// Files that `#[cfg(test)] mod name;` brings in, as paths and as folders.
fn test_files(tree: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in tree {
        let tokens = tokens(&source.text);
        let home = module_folder(&source.path);
        for (at, _) in tokens.iter().enumerate().filter(|&(at, _)| is_test_attribute(&tokens, at)) {
            let item = skip_attributes(&tokens, at);
            let is_mod = tokens.get(item).is_some_and(|token| token.text == "mod");
            if is_mod && tokens.get(item + 2).is_some_and(|token| token.text == ";") {
                let name = &tokens[item + 1].text;
                found.push(format!("{home}{name}.rs"));
                found.push(format!("{home}{name}/"));
            }
        }
    }
    found
}

/// Where the child modules of a file live: `health/mod.rs` and `health.rs` have theirs in `health/`.
fn module_folder(path: &str) -> String {
    match path.strip_suffix("mod.rs").or_else(|| path.strip_suffix("lib.rs")) {
        Some(folder) => folder.to_owned(),
        None => format!("{}/", path.trim_end_matches(".rs")),
    }
}

fn is_below<S: AsRef<str>>(path: &str, places: &[S]) -> bool {
    places
        .iter()
        .map(AsRef::as_ref)
        .any(|place| path == place || place.ends_with('/') && path.starts_with(place))
}

/// One file under every rule.
struct Check<'a> {
    source: &'a Source,
    tokens: Vec<Token>,
    /// Whether the whole file is test code.
    all_test: bool,
    findings: Vec<Finding>,
}

impl<'a> Check<'a> {
    fn new(source: &'a Source, all_test: bool) -> Self {
        Self { source, tokens: tokens(&source.text), all_test, findings: Vec::new() }
    }

    fn run(&mut self) {
        self.text();
        self.words();
        self.clocks();
        self.examples();
        if self.source.path != "lib.rs" {
            self.layers();
        }
    }

    fn found(&mut self, line: usize, rule: Rule, what: impl Into<String>) {
        self.findings.push(Finding { file: self.source.path.clone(), line, rule, what: what.into() });
    }

    fn text(&mut self) {
        if !self.source.text.starts_with("//!") {
            self.found(
                1,
                Rule::ModuleDocs,
                "the file does not start with `//!` and the room's job in one line",
            );
        }
        let lines = self.source.text.lines().count() - examples::example_lines(&self.source.text);
        if lines > MOST_LINES {
            self.found(
                lines,
                Rule::Length,
                format!("{lines} lines, {MOST_LINES} are allowed: look for the second idea"),
            );
        }
        let (island, most) = ISLAND;
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        let code = self.source.text.lines().filter(is_code).count();
        if self.source.path == island && code > most {
            self.found(
                1,
                Rule::Island,
                format!("{code} lines of code, {most} are allowed: what is safe goes elsewhere"),
            );
        }
    }

    fn words(&mut self) {
        for at in 0..self.tokens.len() {
            let (line, word) = (self.tokens[at].line, self.tokens[at].text.clone());
            match word.as_str() {
                "unsafe" if !is_below(&self.source.path, UNSAFE) => {
                    self.found(line, Rule::Unsafe, format!("`unsafe` lives only in {}", UNSAFE.join(", ")));
                }
                "sleep" if self.is_path_or_call(at) => {
                    self.found(
                        line,
                        Rule::Sleep,
                        "nothing sleeps: the loop waits, and timers say until when",
                    );
                }
                "todo" | "unimplemented" | "dbg" if self.is(at + 1, "!") => {
                    self.found(line, Rule::Unfinished, format!("`{word}!` does not stay in the tree"));
                }
                _ => {}
            }
        }
    }

    /// `thread::sleep`, `thread::{sleep, ..}` or `sleep(..)`, but no method and no definition of that name.
    fn is_path_or_call(&self, at: usize) -> bool {
        let before = at.checked_sub(1).map_or("", |before| self.tokens[before].text.as_str());
        match before {
            "." | "fn" => false,
            "::" => true,
            _ => self.is(at + 1, "(") || self.is_in_use(at),
        }
    }

    fn is_in_use(&self, at: usize) -> bool {
        let start = self.tokens[..at].iter().rposition(|token| token.text == ";").map_or(0, |end| end + 1);
        self.tokens[start..at].iter().any(|token| token.text == "use")
    }

    fn clocks(&mut self) {
        if self.source.path == CLOCK_SOURCE {
            return;
        }
        let in_test = self.test_lines();
        for at in 0..self.tokens.len() {
            let line = self.tokens[at].line;
            let after = |text: &str| at > 0 && self.tokens[at - 1].text == text;
            match self.tokens[at].text.as_str() {
                "now" if after("::") => {
                    self.found(
                        line,
                        Rule::Clock,
                        format!("only {CLOCK_SOURCE} asks the system what time it is"),
                    );
                }
                "SystemTime" => {
                    self.found(line, Rule::Clock, "the wall clock jumps: nothing here may depend on it");
                }
                "elapsed" if after(".") && self.is(at + 1, "(") => {
                    self.found(line, Rule::Clock, "`elapsed()` reads the clock: take `now` and use `since`");
                }
                "now" if after(".") && self.is(at + 1, "(") => {
                    let allowed = self.all_test || in_test.contains(&line);
                    if !allowed && !self.may_read_clock() {
                        self.found(
                            line,
                            Rule::Clock,
                            "`now()` outside the turn: time comes in as an argument",
                        );
                    }
                }
                _ => {}
            }
        }
    }

    fn examples(&mut self) {
        if self.all_test || is_below(&self.source.path, &[OF_C]) {
            return;
        }
        for bare in examples::without_example(&self.source.text, &self.tokens) {
            let what = format!("`{}` is public and shows no example that compiles", bare.name);
            self.found(bare.line, Rule::Example, what);
        }
    }

    fn may_read_clock(&self) -> bool {
        CLOCK_READERS.iter().any(|&(place, _)| is_below(&self.source.path, &[place]))
    }

    /// The lines of items under `#[cfg(test)]`.
    fn test_lines(&self) -> BTreeSet<usize> {
        let mut lines = BTreeSet::new();
        for at in (0..self.tokens.len()).filter(|&at| is_test_attribute(&self.tokens, at)) {
            let item = skip_attributes(&self.tokens, at);
            let end = end_of_item(&self.tokens, item);
            let last = self.tokens.get(end).map_or(self.tokens[at].line, |token| token.line);
            lines.extend(self.tokens[at].line..=last);
        }
        lines
    }

    fn layers(&mut self) {
        let home = self.source.path.split(['/', '.']).next().unwrap_or_default().to_owned();
        let Some(number) = room_number(&home) else {
            self.found(
                1,
                Rule::Layers,
                format!("`{home}` is no room of tests/tidy.rs: give it a number there"),
            );
            return;
        };
        let depths = self.module_depths();
        let mut at = 0;
        while at < self.tokens.len() {
            let word = self.tokens[at].text.as_str();
            let begins_path = at == 0 || self.tokens[at - 1].text != "::";
            if begins_path && matches!(word, "crate" | "self" | "super") && !self.is_visibility(at) {
                let mut leaves = Vec::new();
                let next = read_path(&self.tokens, at, Vec::new(), &mut leaves);
                for (line, path) in leaves {
                    if let Some(what) = layer_fault(&home, number, depths[at], &path) {
                        self.found(line, Rule::Layers, what);
                    }
                }
                at = next.max(at + 1);
            } else {
                at += 1;
            }
        }
    }

    /// `pub(crate)`, `pub(super)`, `pub(in super::super)`: says who sees, uses nothing.
    fn is_visibility(&self, at: usize) -> bool {
        let word = |back: usize| at.checked_sub(back).map_or("", |place| self.tokens[place].text.as_str());
        word(1) == "(" && word(2) == "pub" || word(1) == "in" && word(2) == "(" && word(3) == "pub"
    }

    /// For each token, how many modules below the crate's root it stands.
    fn module_depths(&self) -> Vec<usize> {
        let below = self.source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let file_depth = below.split('/').count();
        let mut depths = Vec::with_capacity(self.tokens.len());
        let mut braces: Vec<bool> = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            match token.text.as_str() {
                "{" => braces.push(at >= 2 && self.tokens[at - 2].text == "mod"),
                "}" => drop(braces.pop()),
                _ => {}
            }
            depths.push(file_depth + braces.iter().filter(|&&opens_module| opens_module).count());
        }
        depths
    }

    fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.text == text)
    }
}

/// What is wrong with a path that begins with `crate`, `self` or `super`, in a room of this number.
fn layer_fault(home: &str, number: u8, depth: usize, path: &[String]) -> Option<String> {
    let supers = path.iter().take_while(|word| matches!(word.as_str(), "self" | "super"));
    let up = supers.filter(|word| *word == "super").count();
    if path[0] != "crate" {
        let message = format!("`{}` leaves the room: write `crate::room::Name`", path.join("::"));
        return (up >= depth).then_some(message);
    }
    let Some(room) = path.get(1) else {
        return Some("`crate` without a room: write `crate::room::Name`".to_owned());
    };
    match room_number(room) {
        _ if room == home => None,
        None => Some(format!("`crate::{room}` names no room: write `crate::room::Name`")),
        Some(other) if other < number || (other, number) == (0, 0) => None,
        Some(other) => Some(format!("`{home}` ({number}) may not use `{room}` ({other})")),
    }
}

fn room_number(name: &str) -> Option<u8> {
    ROOMS.iter().find(|(room, _)| *room == name).map(|&(_, number)| number)
}

/// Reads `a::b` or `a::{b, c::d}` from `at` on; gives every path in it with its line, and where reading ended.
fn read_path(
    tokens: &[Token],
    mut at: usize,
    mut path: Vec<String>,
    leaves: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let line = tokens.get(at).map_or(0, |token| token.line);
    loop {
        path.push(text(at).to_owned());
        at += 1;
        if text(at) != "::" {
            break;
        }
        match text(at + 1) {
            "{" => {
                at += 2;
                while at < tokens.len() && text(at) != "}" {
                    if text(at) == "," {
                        at += 1;
                        continue;
                    }
                    at = read_path(tokens, at, path.clone(), leaves);
                    while !matches!(text(at), "," | "}" | "") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "<" | "" => break,
            _ => at += 1,
        }
    }
    leaves.push((line, path));
    at
}

/// Whether `#[cfg(test)]` or `#[cfg(all(test, ..))]` begins here.
fn is_test_attribute(tokens: &[Token], at: usize) -> bool {
    let words: Vec<&str> = tokens[at..].iter().take(7).map(|token| token.text.as_str()).collect();
    matches!(words[..], ["#", "[", "cfg", "(", "test", ")", ..] | ["#", "[", "cfg", "(", "all", "(", "test"])
}

/// The first token of the item after the attributes (and the visibility) that begin at `at`.
fn skip_attributes(tokens: &[Token], mut at: usize) -> usize {
    while tokens.get(at).is_some_and(|token| token.text == "#") {
        at = closing(tokens, at + 1) + 1;
    }
    if tokens.get(at).is_some_and(|token| token.text == "pub") {
        at += 1;
        if tokens.get(at).is_some_and(|token| token.text == "(") {
            at = closing(tokens, at) + 1;
        }
    }
    at
}

/// Where an item ends: at its `;`, or where its braces close.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            ";" => return at,
            "{" => return closing(tokens, at),
            "(" | "[" => at = closing(tokens, at) + 1,
            _ => at += 1,
        }
    }
    at
}

/// Where the bracket that opens at `at` closes.
fn closing(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return place;
        }
    }
    tokens.len()
}

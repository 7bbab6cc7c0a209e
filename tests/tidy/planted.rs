//! Violations planted on purpose, each of which must be found, and look-alikes that must not.

use super::*;

/// What is found in a tree of one file, as (line, rule).
fn found(path: &str, text: &str) -> Vec<(usize, Rule)> {
    let source = Source { path: path.to_owned(), text: format!("//! Docs.\n{text}") };
    check_tree(&[source]).into_iter().map(|finding| (finding.line - 1, finding.rule)).collect()
}

#[test]
fn a_room_may_use_lower_rooms_and_itself() {
    for (path, text) in [
        ("health/mod.rs", "use crate::clock::Nanos;"),
        ("health/latency.rs", "use crate::health::Quantiles;"),
        ("error.rs", "use crate::reason::Refusal;"),
        ("server/turn.rs", "use crate::{net::{self, Poller}, clock::Nanos as N, health};"),
        ("server/turn.rs", "fn f() { crate::health::Health::<u8>::new(now) }"),
        ("health/mod.rs", "pub(crate) struct A; pub(in crate::health) struct B; pub(super) struct C;"),
        ("health/latency.rs", "use super::recent::Tally;"),
        ("bucket.rs", "mod tests { use super::*; mod deep { use super::super::*; } }"),
        (
            "health/latency.rs",
            "// use crate::server::Pool;\nconst A: &str = \"crate::server\"; /* crate::net */",
        ),
        ("net/mod.rs", "macro_rules! m { () => { $crate::clock::Nanos } }"),
    ] {
        assert_eq!(found(path, text), [], "{path}: {text}");
    }
}

#[test]
fn a_room_may_not_use_higher_or_equal_rooms() {
    for (path, text) in [
        ("health/mod.rs", "use crate::server::SocketPool;"),
        ("health/mod.rs", "use crate::admission::Gate;"),
        ("clock.rs", "use crate::timer::Timers;"),
        ("bucket.rs", "use crate::timer::Timers;"),
        ("server/mod.rs", "use crate::client::Pool;"),
        ("client/mod.rs", "use crate::server::Pool;"),
        ("admin/mod.rs", "fn f() { crate::capi::run() }"),
        ("health/mod.rs", "use crate::{clock::Nanos, server};"),
        ("health/mod.rs", "use crate::{clock::{Nanos, Clock}, id as i, net::{self, Poller as P}};"),
        ("health/mod.rs", "pub(crate) fn f(p: &crate::net::Poller) {}"),
        ("health/mod.rs", "macro_rules! m { () => { $crate::server::go() } }"),
        ("health/mod.rs", "#[cfg(test)] mod tests { use crate::server::SocketPool; }"),
    ] {
        assert_eq!(only(path, text), Rule::Layers, "{path}: {text}");
    }
}

#[test]
fn both_rooms_of_one_group_are_named_with_their_lines() {
    let text = "use crate::{\n    net::Poller,\n    clock::Nanos,\n    server::SocketPool,\n};";
    assert_eq!(found("health/mod.rs", text), [(2, Rule::Layers), (4, Rule::Layers)]);
}

#[test]
fn no_way_around_the_rooms_is_open() {
    for (path, text) in [
        ("health/mod.rs", "use super::server::SocketPool;"),
        ("health/latency.rs", "use super::super::server::SocketPool;"),
        ("health/latency.rs", "use super::{super::server::SocketPool};"),
        ("health/latency.rs", "use self::super::super::server;"),
        ("bucket.rs", "use super::timer::Timers;"),
        ("bucket.rs", "mod tests { use super::super::timer::Timers; }"),
        ("health/mod.rs", "use crate::SocketPool;"),
        ("health/mod.rs", "use crate::*;"),
        ("health/mod.rs", "use crate as house;"),
        ("health/mod.rs", "use crate::{self as house};"),
        ("cellar.rs", "fn f() {}"),
    ] {
        assert_eq!(only(path, text), Rule::Layers, "{path}: {text}");
    }
}

#[test]
fn unsafe_stays_on_its_islands() {
    for path in ["net/sys.rs", "capi/pool.rs", "client/slots.rs"] {
        assert_eq!(found(path, "unsafe fn f() {}"), [], "{path}");
    }
    for path in ["net/mod.rs", "server/turn.rs", "client/mod.rs", "lib.rs"] {
        assert_eq!(found(path, "\nfn f() { unsafe { g() } }"), [(2, Rule::Unsafe)], "{path}");
    }
    assert_eq!(found("id.rs", "#![deny(unsafe_code)] // unsafe\nconst A: char = '\"'; // unsafe"), []);
}

#[test]
fn only_the_clock_asks_the_system() {
    assert_eq!(found("clock.rs", "fn f() { Instant::now(); SystemTime::now(); i.elapsed(); }"), []);
    for text in [
        "fn f() { Instant::now(); }",
        "use std::time::Instant as I; fn f() { I::now(); }",
        "const F: fn() -> Instant = std::time::Instant::now;",
        "use std::time::SystemTime;",
        "fn f() { start.elapsed(); }",
        "#[cfg(test)] mod tests { fn f() { Instant::now(); } }",
    ] {
        assert_eq!(only("server/turn.rs", text), Rule::Clock, "{text}");
    }
}

#[test]
fn only_the_turn_asks_the_clock() {
    for path in ["server/turn.rs", "client/pool.rs", "admin/mod.rs", "capi/pool.rs"] {
        assert_eq!(found(path, "fn f() { self.clock.now(); }"), [], "{path}");
    }
    for path in ["health/mod.rs", "net/reactor.rs", "server/reap.rs", "server/turns.rs"] {
        assert_eq!(found(path, "fn f() {\n    self.clock\n        .now();\n}"), [(3, Rule::Clock)], "{path}");
    }
    let outside = "#[cfg(test)]\nmod tests {\n    fn f() { clock.now(); }\n}\nfn g() { clock.now(); }";
    assert_eq!(found("server/reap.rs", outside), [(5, Rule::Clock)]);
    assert_eq!(found("server/reap.rs", "#[cfg(test)] use a::b; fn g() {\n c.now(); }"), [(2, Rule::Clock)]);
    assert_eq!(found("server/reap.rs", "#[cfg(not(test))]\nfn g() { c.now(); }"), [(2, Rule::Clock)]);
}

#[test]
fn a_file_that_only_tests_use_may_ask_the_clock() {
    let file = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let model = file("server/model.rs", "//! Model.\nfn f() { clock.now(); }");
    let parent = |text| file("server/mod.rs", text);
    assert!(check_tree(&[parent("//! Docs.\n#[cfg(test)]\nmod model;"), model]).is_empty());
    let model = file("server/model.rs", "//! Model.\nfn f() { clock.now(); }");
    assert_eq!(check_tree(&[parent("//! Docs.\nmod model;"), model]).len(), 1);
}

#[test]
fn long_files_are_found() {
    assert_eq!(found("id.rs", &"\n".repeat(MOST_LINES - 1)), []);
    assert_eq!(found("id.rs", &"\n".repeat(MOST_LINES)), [(MOST_LINES, Rule::Length)]);
}

#[test]
fn an_island_that_grows_is_found() {
    let (island, most) = ISLAND;
    let text = |lines: usize| format!("//! Says much.\n\n{}", "const _: u8 = 1; // one\n".repeat(lines));
    assert_eq!(found(island, &text(most)), []);
    assert_eq!(only(island, &text(most + 1)), Rule::Island);
    assert_eq!(found("id.rs", &text(most + 1)), []);
}

#[test]
fn lines_of_examples_do_not_make_a_file_long() {
    let example =
        format!("/// Does.\n/// ```\n{}/// ```\npub fn f() {{}}\n", "/// f();\n".repeat(MOST_LINES));
    assert_eq!(found("id.rs", &example), []);
    let text = "/// Says much.\n".repeat(MOST_LINES);
    assert_eq!(found("id.rs", &text), [(MOST_LINES, Rule::Length)]);
    let unclosed = format!("/// ```\n/// f();\nfn f() {{}}\n{}", "\n".repeat(MOST_LINES));
    assert_eq!(only("id.rs", &unclosed), Rule::Length);
}

#[test]
fn a_public_item_shows_an_example() {
    for text in [
        "\npub fn f() {}",
        "pub struct A; impl A { pub fn f() {} }",
        "/// Does.\npub fn f() {}",
        "/// Does.\n#[must_use]\npub const fn f() {}",
        "/// ```text\n/// a picture\n/// ```\npub fn f() {}",
        "/// ```ignore\n/// f();\n/// ```\npub fn f() {}",
        "/// ```\n/// f();\n/// ```\nfn f() {}\npub fn g() {}",
        "/// ```\n/// f();\n/// ```\npub struct A; impl A {\n    /// Does.\n    pub unsafe fn f() {}\n}",
        "#[cfg(test)] mod tests {}\npub async fn f() {}",
        "/// Is.\n#[derive(Debug)]\npub struct A;",
        "/// Is.\npub enum A {}\npub(crate) enum B {}",
        "/// Does.\npub trait A: Sized {}",
        "/// Does: `#[doc(hidden)]`.\npub trait A: Sized {}",
    ] {
        assert_eq!(only("net/sys.rs", text), Rule::Example, "{text}");
    }
    assert_eq!(found("id.rs", "/// Does.\n#[must_use]\npub\n    fn f() {}"), [(4, Rule::Example)]);
}

#[test]
fn what_is_not_public_or_has_an_example_is_left_alone() {
    for text in [
        "/// ```\n/// f();\n/// ```\npub fn f() {}",
        "/// ```text\n/// a picture\n/// ```\n/// ```no_run\n/// f();\n/// ```\n#[must_use]\n#[inline]\npub const fn f() {}",
        "    #[inline]\n    /// ```rust\n    /// f();\n    /// ```\n    #[must_use = \"why\"]\n    pub fn f() {}",
        "pub(crate) fn f() {}\npub(super) const fn g() {}\npub(in crate::id) fn h() {}\nfn i() {}",
        "/// ```\n/// A::f();\n/// ```\npub trait A { fn f(); }\nimpl A for B { fn f() {} }",
        "/// For C.\npub extern \"C\" fn f() {}",
        "#[cfg(test)]\nmod tests { pub fn f() {} }",
        "// pub fn f() {}\nconst A: &str = \"pub fn f() {}\";\npub type F = fn();",
    ] {
        assert_eq!(found("id.rs", text), [], "{text}");
    }
    assert_eq!(found("capi/pool.rs", "/// A pool.\n#[derive(Debug)]\npub struct sp_pool;"), [], "for C");
}

#[test]
fn a_function_that_a_macro_makes_shows_an_example_where_the_macro_is_called() {
    let definition = "macro_rules! made { ($($(#[$doc:meta])* $name:ident($a:ty) = $b:expr;)*) => {$(\n\
                      $(#[$doc])*\npub fn $name(a: $a) { $b }\n)*}; }\n";
    let good = "/// ```\n/// f();\n/// ```\nf(u8) = 1;\n";
    let call = |entries: &str| format!("{definition}made! {{\n{entries}}}\nmade!();");
    assert_eq!(found("id.rs", &call(good)), []);
    assert_eq!(
        found("id.rs", &call(&format!("{good}/// Does.\ng(u8) = {{ 1; 2 }};\n"))),
        [(11, Rule::Example)]
    );
    assert_eq!(found("id.rs", &call(&format!("/// Does.\ng([u8; 2]) = 1;\n{good}"))), [(7, Rule::Example)]);
    let named =
        "macro_rules! made { ($name:ident) => {\nimpl $name {\n/// Does.\npub fn f() {}\n} }; }\nmade!(A);";
    assert_eq!(found("id.rs", named), [(4, Rule::Example)]);
}

#[test]
fn nothing_sleeps() {
    for text in
        ["fn f() { std::thread::sleep(d); }", "use std::thread::{spawn, sleep};", "fn f() { sleep(d); }"]
    {
        assert_eq!(only("server/turn.rs", text), Rule::Sleep, "{text}");
    }
    assert_eq!(found("server/turn.rs", "fn f() { let sleep = self.sleep(); }\nfn sleep() {}"), []);
}

#[test]
fn nothing_unfinished_stays() {
    for word in ["todo!()", "unimplemented!(\"later\")", "dbg!(x)"] {
        assert_eq!(found("id.rs", &format!("\n\nfn f() {{ {word} }}")), [(3, Rule::Unfinished)], "{word}");
    }
    assert_eq!(found("id.rs", "// todo! later\nfn todo() {}"), []);
}

#[test]
fn a_file_says_what_it_is_for() {
    let silent = Source { path: "id.rs".to_owned(), text: "use std::fmt;\n".to_owned() };
    assert_eq!(
        check_tree(&[silent])[0].to_string().split(": ").take(2).collect::<Vec<_>>(),
        ["src/id.rs:1", "ModuleDocs"]
    );
}

#[test]
fn text_that_looks_like_code_is_not_read_as_code() {
    for text in [
        "const A: &str = \"\\\"unsafe\";",
        "const A: &str = r#\"unsafe \" unsafe\"#;",
        "const A: &[u8] = br##\"unsafe\"# unsafe\"##;",
        "const A: &std::ffi::CStr = c\"unsafe\";",
        "const A: (u8, char, char) = (b'\"', '\\'', '\"'); // unsafe",
        "/* unsafe /* unsafe */ unsafe */",
        "fn f<'unsafe_>(a: &'unsafe_ str) {}",
    ] {
        assert_eq!(found("id.rs", text), [], "{text}");
    }
    for text in ["const A: &str = \"a\\\\\"; unsafe {}", "fn f<'a>(c: char) { c == 'x'; unsafe {} }"] {
        assert_eq!(only("id.rs", text), Rule::Unsafe, "{text}");
    }
}

/// The one rule that is broken, however often.
fn only(path: &str, text: &str) -> Rule {
    let found = found(path, text);
    let rule = found.first().unwrap_or_else(|| panic!("nothing found in {path}: {text}")).1;
    assert!(found.iter().all(|&(_, other)| other == rule), "{found:?} in {path}: {text}");
    rule
}

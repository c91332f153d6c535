//! Files import each other one way only: inside a tree of sources no file leads back to itself by its imports.
//!
//! An import is any path that begins with `crate`, `super`, `self` or a module declared in the same file, in a `use` or
//! where a thing is named. It leads to the file that holds what is named, through re-exports. What a module file
//! re-exports of its children is its table of contents and no import. Tests may look at everything.
//!
//! The same holds between the rooms inside a room: a directory, or a file with the directory of its name, is one of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::source::{Finding, Source, is_word, skip_blanks, word_at};

type Names = Vec<String>;

/// One path in a file: its parts, the name it has here, and whether it is passed on under that name.
struct Named {
    parts: Names,
    alias: String,
    passed_on: bool,
}

/// The files of one crate, by the path of their module.
#[derive(Default)]
struct Tree<'a> {
    files: BTreeMap<Names, &'a Source>,
    /// What stands under a name without being there.
    passed_on: BTreeMap<Names, Names>,
}

/// A circle in each knot of files that import each other.
pub fn circles(sources: &[Source]) -> Vec<Finding> {
    let mut trees: BTreeMap<String, Tree<'_>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.test.iter().all(|test| *test)) {
        if let Some((root, module)) = place(&source.path) {
            trees.entry(root).or_default().files.insert(module, source);
        }
    }
    trees.into_values().flat_map(|tree| tree.circles()).collect()
}

/// The root of the crate that a file belongs to, and its module. Binaries in a directory of their own are crates of a file.
fn place(path: &str) -> Option<(String, Names)> {
    let (root, inside) = match path.strip_prefix("src/") {
        Some(inside) => ("src", inside),
        None => path.split_once("/src/")?,
    };
    let mut module: Names = inside.trim_end_matches(".rs").split('/').map(str::to_string).collect();
    if module.first().is_some_and(|first| first == "bin") {
        return None;
    }
    if ["mod", "lib", "main"].contains(&module.last().map_or("", String::as_str)) {
        module.pop();
    }
    Some((root.to_string(), module))
}

impl<'a> Tree<'a> {
    fn circles(mut self) -> Vec<Finding> {
        let mut named: Vec<(Names, Named)> = Vec::new();
        for (module, source) in &self.files {
            let paths = paths_in(source, |word| self.files.contains_key(&joined(module, &[word.to_string()])));
            named.extend(paths.into_iter().map(|path| (module.clone(), path)));
        }
        for (module, path) in named.iter().filter(|(_, path)| path.passed_on) {
            self.passed_on
                .insert(joined(module, std::slice::from_ref(&path.alias)), self.absolute(module, &path.parts));
        }
        let mut imports: Imports<'_> = BTreeMap::new();
        for (module, path) in &named {
            let contents = path.passed_on && self.has_children(module);
            let Some(to) = self.resolve(self.absolute(module, &path.parts), 0).filter(|_| !contents) else { continue };
            let from = self.files[module].path.as_str();
            if from != to {
                imports.entry(from).or_default().insert(to);
            }
        }
        let mut found = knots(&imports, "circles");
        if found.is_empty() {
            // A circle of files is told once.
            found = knots(&between_inner_rooms(&imports), "inner_rooms");
        }
        found
    }

    fn has_children(&self, module: &[String]) -> bool {
        self.files.keys().any(|other| other.len() == module.len() + 1 && other.starts_with(module))
    }

    /// A path from the root of the crate.
    fn absolute(&self, module: &[String], parts: &[String]) -> Names {
        let ups = parts.iter().take_while(|part| *part == "super").count();
        match parts[0].as_str() {
            "crate" => parts[1..].to_vec(),
            "super" => joined(&module[..module.len().saturating_sub(ups)], &parts[ups..]),
            "self" => joined(module, &parts[1..]),
            _ => joined(module, parts),
        }
    }

    /// The file that holds what a path names.
    fn resolve(&self, mut path: Names, depth: usize) -> Option<&'a str> {
        for len in (1..=path.len()).rev() {
            if self.files.contains_key(&path[..len]) {
                break;
            }
            if let Some(whole) = self.passed_on.get(&path[..len]).filter(|_| depth < 8) {
                return self.resolve(joined(whole, &path[len..]), depth + 1);
            }
        }
        while !self.files.contains_key(&path) {
            path.pop()?;
        }
        self.files.get(&path).map(|source| source.path.as_str())
    }
}

type Imports<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// A circle in each knot.
fn knots(imports: &Imports<'_>, rule: &'static str) -> Vec<Finding> {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for from in imports.keys() {
        let circle = way_back(imports, from);
        if !circle.is_empty() && circle.iter().all(|file| !told.contains(file)) {
            told.extend(&circle);
            let what = circle.iter().skip(1).chain([from]).copied().collect::<Vec<_>>().join(" -> ");
            found.push(Finding { rule, path: (*from).to_string(), what, line: 1, amount: 1 });
        }
    }
    found
}

/// The room inside a room that a file of the house belongs to: `src/room/inner`.
fn inner_room(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let (room, rest) = inside.split_once('/')?;
    let inner = rest.split('/').next()?.trim_end_matches(".rs");
    (inner != "mod").then(|| &path[.."src/".len() + room.len() + 1 + inner.len()])
}

/// What the rooms inside each room import of each other.
fn between_inner_rooms<'a>(imports: &Imports<'a>) -> Imports<'a> {
    let mut between: Imports<'a> = BTreeMap::new();
    for (from, to) in imports.iter().flat_map(|(from, files)| files.iter().map(move |to| (*from, *to))) {
        let (Some(from), Some(to)) = (inner_room(from), inner_room(to)) else { continue };
        if from != to && from.rsplit_once('/').map(|(room, _)| room) == to.rsplit_once('/').map(|(room, _)| room) {
            between.entry(from).or_default().insert(to);
        }
    }
    between
}

fn joined(path: &[String], rest: &[String]) -> Names {
    path.iter().chain(rest).cloned().collect()
}

/// The files on the shortest way from a file back to it, itself first; none where there is no way.
fn way_back<'a>(imports: &Imports<'a>, start: &'a str) -> Vec<&'a str> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(file) = waiting.pop_front() {
        for next in imports.get(file).into_iter().flatten() {
            if !before.contains_key(next) {
                before.insert(next, file);
                waiting.push_back(next);
            }
        }
    }
    let mut way = Vec::new();
    let mut at = start;
    while let Some(from) = before.get(at) {
        way.push(*from);
        at = from;
        if at == start {
            way.reverse();
            return way;
        }
    }
    Vec::new()
}

/// Every path outside tests that begins at the root, above, here, or with a child.
fn paths_in(source: &Source, is_child: impl Fn(&str) -> bool) -> Vec<Named> {
    let code = &source.code;
    let mut found = Vec::new();
    let (mut at, mut line, mut passed_on) = (0, 1, false);
    while at < code.len() {
        let c = code[at];
        line += usize::from(c == '\n');
        if !is_word(c) || (at > 0 && is_word(code[at - 1])) {
            // A `use` lasts to its semicolon.
            passed_on &= c != ';';
            at += 1;
            continue;
        }
        let word = word_at(code, at);
        let end = at + word.chars().count();
        if word == "use" {
            passed_on = is_public(&code[..at]);
        }
        let rooted = at < 2 || code[at - 1] != ':' || code[at - 2] != ':';
        let begins = ["crate", "super", "self"].contains(&word.as_str()) || is_child(&word);
        if rooted && begins && code[end..].starts_with(&[':', ':']) && !source.test[line] {
            let after = read_tree(code, at, &[], passed_on, &mut found);
            line += code[at..after].iter().filter(|c| **c == '\n').count();
            at = after;
        } else {
            at = end;
        }
    }
    found
}

/// Whether the item whose keyword comes here is public in any measure.
fn is_public(code: &[char]) -> bool {
    let before: String = code[code.len().saturating_sub(24)..].iter().collect();
    let before = before.trim_end();
    let open = if before.ends_with(')') { before.rfind('(').unwrap_or(0) } else { before.len() };
    before[..open].ends_with("pub")
}

/// Reads one branch of a path, with its braces; the place behind it.
fn read_tree(code: &[char], from: usize, above: &[String], passed_on: bool, found: &mut Vec<Named>) -> usize {
    let mut at = skip_blanks(code, from);
    if code.get(at) == Some(&'{') {
        at += 1;
        loop {
            while code.get(at).is_some_and(|c| c.is_whitespace() || *c == ',') {
                at += 1;
            }
            match code.get(at) {
                None | Some('}') => return (at + 1).min(code.len()),
                _ => at = read_tree(code, at, above, passed_on, found),
            }
        }
    }
    let word = word_at(code, at);
    if word.is_empty() {
        // A star, or the brackets of a type.
        return (at + 1).min(code.len());
    }
    at += word.chars().count();
    let parts = joined(above, std::slice::from_ref(&word));
    if code[at..].starts_with(&[':', ':']) {
        return match code.get(at + 2) {
            Some(c) if is_word(*c) || *c == '{' => read_tree(code, at + 2, &parts, passed_on, found),
            _ => {
                found.push(Named { parts, alias: word, passed_on: false });
                at + 2
            }
        };
    }
    let parts = if word == "self" && !above.is_empty() { above.to_vec() } else { parts };
    let mut alias = parts.last().cloned().unwrap_or_default();
    let next = skip_blanks(code, at);
    if word_at(code, next) == "as" && code.get(next + 2) == Some(&' ') {
        let name = skip_blanks(code, next + 2);
        alias = word_at(code, name);
        at = name + alias.chars().count();
    }
    found.push(Named { parts, alias, passed_on });
    at
}

#[test]
fn circles_can_fail() {
    let seen = |files: &[(&str, &str)]| {
        let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        circles(&sources).into_iter().map(|finding| finding.what).collect::<Vec<_>>()
    };
    let one_way = [("src/log/a.rs", "use super::b::B;\n"), ("src/log/b.rs", "// super::a\nstruct B;\n")];
    assert_eq!(seen(&one_way), [""; 0]);
    let found = ["src/log/b.rs -> src/log/a.rs"];
    for back in [
        "use super::a::A;",
        "use super::{\n    c::C,\n    a::{self, A},\n};",
        "use crate::log::a as other;",
        "use crate::{base::X, log::{a::A}};",
        "fn f() -> super::a::A { todo() }",
        "use super::a::*;",
        "pub use super::a::A;",
    ] {
        assert_eq!(seen(&[one_way[0], ("src/log/b.rs", back)]), found, "{back}");
        let of_a_test = format!("#[cfg(test)]\nmod tests {{\n{back}\n}}\n");
        assert_eq!(seen(&[one_way[0], ("src/log/b.rs", &of_a_test)]), [""; 0], "{back}");
        assert_eq!(seen(&[one_way[0], ("src/log/b/tests.rs", back)]), [""; 0], "{back}");
    }

    // Through what the room re-exports, and around three corners; in every tree.
    let room = ("src/log/mod.rs", "mod a;\nmod b;\npub use a::A as First;\npub(super) use b::{B};\n");
    assert_eq!(seen(&[room, one_way[0], ("src/log/b.rs", "use super::First;\n")]), found);
    assert_eq!(seen(&[room, one_way[0], ("src/log/b.rs", "use super::B;\n")]), [""; 0]);
    let corners = ["use super::b::B;", "use super::c::C;", "use super::a::A;"];
    for tree in ["src", "sim/src", "jepsen/drive/src"] {
        let files: Vec<(String, &str)> =
            ["a", "b", "c"].iter().zip(corners).map(|(name, text)| (format!("{tree}/{name}.rs"), text)).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        assert_eq!(seen(&files), [format!("{tree}/b.rs -> {tree}/c.rs -> {tree}/a.rs")]);
    }

    // A module file that uses its child for itself, while the child uses it.
    let child = ("src/log/a.rs", "use super::X;\n");
    assert_eq!(seen(&[("src/log/mod.rs", "mod a;\npub use a::A;\npub struct X;\n"), child]), [""; 0]);
    let uses = ("src/log/mod.rs", "mod a;\npub struct X;\nfn f() { a::g() }\n");
    assert_eq!(seen(&[uses, child]), ["src/log/mod.rs -> src/log/a.rs"]);

    // Rooms inside a room: no file leads back to itself, the rooms do.
    let below = ("src/api/low/a.rs", "use crate::api::high::b::B;\n");
    let above = [("src/api/high/b.rs", "struct B;\n"), ("src/api/high/c.rs", "use crate::api::low::d::D;\n")];
    assert_eq!(seen(&[below, above[0], ("src/api/low/d.rs", "use super::a::A;\n")]), [""; 0]);
    let circle = [below, above[0], above[1], ("src/api/low/d.rs", "struct D;\n")];
    assert_eq!(seen(&circle), ["src/api/low -> src/api/high"]);
    let elsewhere = circle.map(|(path, text)| (path.replace("src/api", "sim/src/api"), text));
    let elsewhere: Vec<(&str, &str)> = elsewhere.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    assert_eq!(seen(&elsewhere), [""; 0], "only the house has rooms inside rooms");
}

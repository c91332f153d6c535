//! The sources as the rules read them: the text, and the same with comments, strings and characters blanked.
//!
//! Knows no rule.

use std::fs;
use std::path::Path;

/// One file: its text, and the same with comments, strings and characters blanked, line by line.
pub struct Source {
    pub path: String,
    pub text: String,
    pub code: Vec<char>,
    /// By line: whether it belongs to a test.
    pub test: Vec<bool>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Finding {
    pub rule: &'static str,
    pub path: String,
    pub what: String,
    pub line: usize,
    /// Lines for a size, one for the rest.
    pub amount: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let lines = text.lines().count() + 1;
        let whole = path
            .split('/')
            .any(|part| part == "tests" || part == "benches" || part == "tests.rs" || part.ends_with("_tests.rs"));
        let mut test = vec![whole; lines + 1];
        for at in occurrences(&code, "#[cfg(test)]") {
            let end = item_end(&code, at + "#[cfg(test)]".len());
            test[line_of(&code, at)..=line_of(&code, end)].fill(true);
        }
        Self { path: path.to_string(), text: text.to_string(), code, test }
    }

    pub fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        Some(inside.split('/').next().unwrap().trim_end_matches(".rs"))
    }

    pub fn finding(&self, rule: &'static str, at: usize, what: impl Into<String>) -> Finding {
        Finding { rule, path: self.path.clone(), what: what.into(), line: line_of(&self.code, at), amount: 1 }
    }

    pub fn in_test(&self, at: usize) -> bool {
        self.test[line_of(&self.code, at)]
    }
}

/// Lines count from 1.
pub fn line_of(code: &[char], at: usize) -> usize {
    1 + code[..at.min(code.len())].iter().filter(|c| **c == '\n').count()
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the text stands as whole words.
pub fn occurrences(code: &[char], text: &str) -> Vec<usize> {
    let wanted: Vec<char> = text.chars().collect();
    let (first, last) = (wanted[0], wanted[wanted.len() - 1]);
    (0..(code.len() + 1).saturating_sub(wanted.len()))
        .filter(|&at| code[at] == first && code[at..].starts_with(&wanted))
        .filter(|&at| !is_word(first) || at == 0 || !is_word(code[at - 1]))
        .filter(|&at| !is_word(last) || code.get(at + wanted.len()).is_none_or(|c| !is_word(*c)))
        .collect()
}

pub fn word_at(code: &[char], at: usize) -> String {
    code[at.min(code.len())..].iter().take_while(|c| is_word(**c)).collect()
}

pub fn skip_blanks(code: &[char], mut at: usize) -> usize {
    while code.get(at).is_some_and(|c| c.is_whitespace()) {
        at += 1;
    }
    at
}

/// The end of the item that starts here: its closing brace, or its semicolon.
pub fn item_end(code: &[char], from: usize) -> usize {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (at, c) in code.iter().enumerate().skip(from) {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return at;
                }
            }
            ';' if braces == 0 && others == 0 => return at,
            _ => {}
        }
    }
    code.len().saturating_sub(1)
}

/// Blanks comments, strings and characters; keeps every line where it was.
pub fn blank(text: &str) -> Vec<char> {
    let source: Vec<char> = text.chars().collect();
    let mut code = source.clone();
    let mut at = 0;
    while at < source.len() {
        let end = literal_end(&source, at);
        for c in &mut code[at..end] {
            if *c != '\n' {
                *c = ' ';
            }
        }
        at = end.max(at + 1);
    }
    code
}

/// The end of the comment, string or character that starts here; `at` itself if none does.
pub fn literal_end(source: &[char], at: usize) -> usize {
    let find = |from: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        (from..source.len()).find(|&i| source[i..].starts_with(&end)).map_or(source.len(), |i| i + end.len())
    };
    let fresh = at == 0 || !is_word(source[at - 1]);
    match (source[at], source.get(at + 1)) {
        ('/', Some('/')) => find(at, "\n") - 1,
        ('/', Some('*')) => block_comment_end(source, at),
        ('"', _) => string_end(source, at + 1, '"'),
        ('r', Some('"' | '#')) if fresh => {
            let hashes = source[at + 1..].iter().take_while(|c| **c == '#').count();
            match source.get(at + 1 + hashes) {
                Some('"') => find(at + 2 + hashes, &format!("\"{}", "#".repeat(hashes))),
                _ => at,
            }
        }
        ('\'', Some('\\')) => string_end(source, at + 1, '\''),
        ('\'', Some(_)) if source.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

pub fn block_comment_end(source: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < source.len() {
        match (source[at], source.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(source.len())
}

pub fn string_end(source: &[char], mut at: usize, quote: char) -> usize {
    while at < source.len() && source[at] != quote {
        at += if source[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(source.len())
}

pub fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for top in ["src", "sim", "jepsen", "tests", "benches", "tools"] {
        collect(root, &root.join(top), &mut found);
    }
    assert!(found.len() > 100, "the sources were not found under {}", root.display());
    found
}

pub fn collect(root: &Path, dir: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target" && name != "generated") {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            found.push(Source::new(&name, &fs::read_to_string(&path).unwrap()));
        }
    }
}

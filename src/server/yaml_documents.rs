//! Where the first document of a YAML file ends, and that there is no other.
//!
//! A line that begins with `---` or `...` parts documents wherever it stands, also within a text over several lines. etcd's
//! library reads the first document and passes over the rest; here what follows may say nothing. Does not know what a document says.

/// The first document of a text, with whatever stands before it.
///
/// # Errors
/// Something is said behind it.
pub fn first(text: &str) -> Result<&str, String> {
    let (mut at, mut has_begun, mut end) = (0, false, None);
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let parts = behind(line, "---").or_else(|| behind(line, "..."));
        match (end, parts) {
            (None, Some(_)) if has_begun => end = Some(at),
            (None, _) => has_begun |= behind(line, "---").is_some() || !(says_nothing(line) || line.starts_with('%')),
            _ => {}
        }
        let says = parts.unwrap_or(line);
        if end.is_some() && !says_nothing(says) && !says.starts_with('%') {
            return Err(format!(
                "--config-file: line {number}: a second YAML document begins; one is read, and etcd passes over any other: say all of it in one"
            ));
        }
        at += line.len();
    }
    Ok(&text[..end.unwrap_or(text.len())])
}

/// What stands behind a mark at the beginning of a line; nothing where there is no mark.
fn behind<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.strip_prefix(mark).filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Blanks and remarks.
fn says_nothing(line: &str) -> bool {
    matches!(line.trim_start().chars().next(), None | Some('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_document_is_read_with_whatever_marks_stand_around_it() {
        for whole in
            ["", "a: 1", "# c\n%YAML 1.1\n---\na: 1\n", "--- {a: 1}\n", " ---\na: 1\n", "a: 1\n----\n", "a: |\n  ---\n"]
        {
            assert_eq!(first(whole), Ok(whole), "{whole:?}");
        }
        for behind in
            ["---", "---\n", "--- # c\n", "---\t\n", "---\n\n# c\n", "...\n", "...\n---\n", "---\n---\n", "---\r\n\r\n"]
        {
            for before in ["a: 1\n", "---\na: 1\n", "# c\n---\n# d\na: 1\n"] {
                assert_eq!(first(&format!("{before}{behind}")), Ok(before), "{before:?} {behind:?}");
            }
        }
    }

    #[test]
    fn a_second_document_is_refused() {
        for (two, line) in [
            ("a: 1\n---\nb: 2\n", 3),
            ("---\n---\na: 1\n", 3),
            ("a: 1\n--- b\n", 2),
            ("a: 1\n...\n---\n[\n", 4),
            ("a: 'x\n--- y'\n", 2),
            ("a: 1\n---\n{}\n", 3),
        ] {
            let why = first(two).expect_err(two);
            assert!(
                why.starts_with(&format!("--config-file: line {line}: a second YAML document begins")),
                "{two:?}: {why}"
            );
        }
    }
}

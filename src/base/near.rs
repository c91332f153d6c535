//! What was probably meant by a mistyped word.
//!
//! Invariant: of commands those are suggested that etcd's tools suggest. Does not know what the words are.

/// The commands that may have been meant by `word`, in their order: those it begins, and those two letters away at most.
pub fn commands_meant<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = word.to_lowercase();
    names.filter(|name| distance(&lower, name) <= 2 || name.starts_with(&lower)).collect()
}

/// Letters to change, add or drop between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The word nearest to a mistyped one, where one is near enough to have been meant, or else the only one that it begins.
pub fn nearest<'a>(mistyped: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A short word is near everything, and begins much.
    let most = (mistyped.len() / 3).min(2);
    let words: Vec<&str> = words.collect();
    let near = words.iter().map(|word| (distance(mistyped, word), *word)).filter(|(letters, _)| *letters <= most);
    let begun = || {
        let mut begun = words.iter().filter(|word| mistyped.len() > 2 && word.starts_with(mistyped));
        begun.next().filter(|_| begun.next().is_none()).copied()
    };
    near.min().map(|(_, word)| word).or_else(begun)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_was_meant() {
        let words = || ["prefix", "prev-kv", "rev", "limit"].into_iter();
        assert_eq!(nearest("prefx", words()), Some("prefix"));
        assert_eq!(nearest("limits", words()), Some("limit"));
        assert_eq!(nearest("rve", words()), None, "two letters of three are another word");
        assert_eq!(nearest("bogus", words()), None);
        assert_eq!(nearest("pref", words()), Some("prefix"), "it begins it");
        assert_eq!((nearest("pre", words()), nearest("li", words())), (None, None), "it begins two, and is short");
        let long = || ["min-create-rev", "from-key"].into_iter();
        assert_eq!(
            (nearest("from", long()), nearest("min-create", long())),
            (Some("from-key"), Some("min-create-rev"))
        );
        assert_eq!(commands_meant("Sna", ["defrag", "snapshot", "sne"].into_iter()), ["snapshot", "sne"]);
        assert_eq!((distance("", "ab"), distance("kitten", "sitting")), (2, 3));
    }
}

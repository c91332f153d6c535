//! What the system says, as tools written in Go show it. Does not know what was tried.

use std::io;

/// What the system says of an error, as Go words it.
pub fn system_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_words_begin_small_and_have_no_number() {
        let told = [2, 13, 20, 36, 40].map(|number| system_words(&io::Error::from_raw_os_error(number)));
        let gos = [
            "no such file or directory",
            "permission denied",
            "not a directory",
            "file name too long",
            "too many levels of symbolic links",
        ];
        assert_eq!(told, gos);
        assert_eq!(system_words(&io::Error::other("Out of tune")), "out of tune");
    }
}

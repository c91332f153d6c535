//! What users hold once they have proved who they are: the flag `--auth-token`.

use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};

use super::jwt::Jwt;
use super::options::Options;

/// Letters of the drawn part of a simple token, as in etcd.
const DRAWN_LETTERS: usize = 16;

/// The kind of tokens a member gives and takes.
#[derive(Clone, Debug, Default)]
pub enum TokenKind {
    /// Drawn, and known to the members because they are in the log.
    #[default]
    Simple,
    /// Signed: they say themselves whom they name.
    Jwt(Arc<Jwt>),
    /// None at all: nobody can authenticate by password.
    Nothing,
}

impl TokenKind {
    /// The kind that a value of the flag asks for, or etcd's word for what is wrong with it; `read` gives the files it
    /// names.
    pub fn read(option: &str, read: impl Fn(&str) -> std::io::Result<Vec<u8>>) -> Result<Self, String> {
        let options = Options::read(option).ok_or(INVALID_OPTIONS)?;
        match options.kind {
            "simple" => Ok(Self::Simple),
            "jwt" => Jwt::new(&options, read).map(|jwt| Self::Jwt(Arc::new(jwt))),
            "" => Ok(Self::Nothing),
            _ => Err(INVALID_OPTIONS.to_string()),
        }
    }

    /// The drawn part of a simple token; empty for other kinds. Nothing where the system has no randomness to give.
    pub fn draw(&self) -> Option<String> {
        match self {
            Self::Simple => letters(&SystemRandom::new()),
            Self::Jwt(_) | Self::Nothing => Some(String::new()),
        }
    }
}

const INVALID_OPTIONS: &str = "auth: invalid auth options";

/// Letters of either case, each as likely as the other.
fn letters(random: &dyn SecureRandom) -> Option<String> {
    const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    // Of the 256 values of a byte the last 48 are passed over, or the first letters would come more often.
    const FAIR: usize = 256 / LETTERS.len() * LETTERS.len();
    let mut drawn = String::new();
    while drawn.len() < DRAWN_LETTERS {
        let mut bytes = [0; 2 * DRAWN_LETTERS];
        random.fill(&mut bytes).ok()?;
        let fair = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < FAIR);
        drawn.extend(fair.take(DRAWN_LETTERS - drawn.len()).map(|byte| char::from(LETTERS[byte % LETTERS.len()])));
    }
    Some(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_token_is_of_letters_and_is_drawn_anew() {
        let drawn: Vec<String> = (0..50).map(|_| TokenKind::Simple.draw().expect("there is randomness")).collect();
        assert!(drawn.iter().all(|token| token.len() == 16 && token.bytes().all(|byte| byte.is_ascii_alphabetic())));
        let distinct: std::collections::BTreeSet<&String> = drawn.iter().collect();
        assert_eq!(distinct.len(), drawn.len());
        let upper = drawn.iter().flat_map(|token| token.bytes()).filter(u8::is_ascii_uppercase).count();
        assert!((250..550).contains(&upper), "{upper} of 800");
    }

    #[test]
    fn options_that_are_none_are_refused_in_etcds_words() {
        let read = |option| TokenKind::read(option, |_| Err(std::io::ErrorKind::NotFound.into()));
        assert!(matches!(read("simple"), Ok(TokenKind::Simple)));
        assert!(matches!(read(""), Ok(TokenKind::Nothing)));
        assert!(matches!(read("simple,a=1,b=2"), Ok(TokenKind::Simple)));
        for bad in
            ["other", "simple,", "simple,a", "simple,a=1,a=2", "simple,a=b=c", "jwt,x", "jwt", "jwt,sign-method=X"]
        {
            assert_eq!(read(bad).err().as_deref(), Some(INVALID_OPTIONS), "{bad}");
        }
        assert_eq!(read("jwt,sign-method=RS256").err().as_deref(), Some("auth: missing key data"));
        assert_eq!(read("jwt,sign-method=RS256,priv-key=/no").err().as_deref(), Some(INVALID_OPTIONS));
    }
}

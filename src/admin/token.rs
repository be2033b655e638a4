//! The secret that requests present.

use std::fmt;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq as _;

use crate::base::{Error, Result};

/// The shortest token, in bytes: this many random letters and digits cannot be guessed over a network.
const BYTES_MIN: usize = 16;

/// A secret that requests present as `Authorization: Bearer TOKEN`. It is never printed, and compared in a time
/// that does not reveal where two differ.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// A token of at least 16 characters that are allowed in a header: ASCII letters, digits and punctuation, no
    /// blanks. Surrounding blanks, such as the newline at the end of a file, are removed.
    ///
    /// ```
    /// use marea::admin::Token;
    /// let token = Token::new("mf8x2kq0v7c1s5hd\n")?;
    /// assert_eq!(format!("{token:?}"), "Token(..)");
    /// # Ok::<(), marea::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if it is shorter, or has other characters. The message does not contain it.
    pub fn new(secret: &str) -> Result<Self> {
        let secret = secret.trim();
        if secret.len() < BYTES_MIN {
            return Err(Error::invalid(format!(
                "a token must have at least {BYTES_MIN} characters, this one has {}; create one with \
                 `openssl rand -hex 16`",
                secret.len()
            )));
        }
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid(
                "a token must consist of visible ASCII characters; create one with `openssl rand -hex 16`",
            ));
        }
        Ok(Self(secret.into()))
    }

    /// Whether `presented` is the same secret. Takes the same time wherever they differ.
    pub fn matches(&self, presented: &str) -> bool {
        self.0.as_bytes().ct_eq(presented.as_bytes()).into()
    }

    /// Whether a request presents it.
    pub fn is_shown_in(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok());
        let parts = shown.and_then(|value| value.split_once(' '));
        parts.is_some_and(|(scheme, secret)| {
            scheme.eq_ignore_ascii_case("bearer") && self.matches(secret.trim())
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let token = Token::new("0123456789abcdef").expect("long enough");
        assert_eq!(format!("{token:?}"), "Token(..)");
        let short = Token::new("hunter2").expect_err("too short");
        let blank = Token::new("0123456789 abcdef").expect_err("a blank");
        for error in [short, blank] {
            let said = format!("{error:?}");
            assert!(
                !said.contains("hunter2") && !said.contains("0123"),
                "{said}"
            );
        }
    }

    #[test]
    fn only_the_whole_token_matches() {
        let token = Token::new(" 0123456789abcdef\n").expect("blanks are taken off");
        assert!(token.matches("0123456789abcdef"));
        for other in [
            "",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789abcdeF",
        ] {
            assert!(!token.matches(other), "{other}");
        }
    }

    #[test]
    fn a_request_shows_it_as_a_bearer() {
        let token = Token::new("0123456789abcdef").expect("long enough");
        let shown = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().expect("a header"));
            token.is_shown_in(&headers)
        };
        assert!(shown("Bearer 0123456789abcdef"));
        assert!(shown("bearer  0123456789abcdef"));
        assert!(!shown("0123456789abcdef"));
        assert!(!shown("Basic 0123456789abcdef"));
        assert!(!shown("Bearer"));
        assert!(!token.is_shown_in(&HeaderMap::new()));
    }
}

//! The address of an instance.

use std::str::FromStr as _;

use axum::http::Uri;
use axum::http::uri::Authority;

use crate::base::{Error, Result};

/// An address, with the path that the routes are below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    text: String,
    authority: Authority,
    is_plain: bool,
    prefix: String,
}

impl Url {
    /// Reads one: `http://HOST:PORT` or `https://HOST:PORT`, with a path if the routes are nested below one.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let trimmed = text.trim_end_matches('/');
        let uri = Uri::from_str(trimmed).ok();
        let parts = uri.and_then(|uri| {
            let is_plain = match uri.scheme_str()? {
                "http" => true,
                "https" => false,
                _ => return None,
            };
            let authority = uri.authority()?.clone();
            let has_user = authority.as_str().contains('@');
            let bare = !has_user && uri.query().is_none() && !authority.host().is_empty();
            bare.then(|| {
                let prefix = uri.path().trim_end_matches('/').to_owned();
                (is_plain, authority, prefix)
            })
        });
        let (is_plain, authority, prefix) = parts.ok_or_else(|| {
            Error::invalid(format!(
                "{text:?} is not the address of an instance; use the form `http://10.1.2.3:8080`"
            ))
        })?;
        Ok(Self {
            text: trimmed.to_owned(),
            authority,
            is_plain,
            prefix,
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The name or address of the host, without brackets.
    pub(super) fn host(&self) -> &str {
        let host = self.authority.host();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(80)
    }

    /// The value of the `Host` header for it.
    pub(super) fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Whether it is reached without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The path of a route there.
    pub(super) fn path(&self, route: &str) -> String {
        format!("{}{route}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_apart() {
        let url = Url::parse("http://node-3.example:8080/face/").expect("an address");
        assert_eq!(url.text(), "http://node-3.example:8080/face");
        assert_eq!((url.host(), url.port()), ("node-3.example", 8080));
        assert_eq!(url.authority(), "node-3.example:8080");
        assert_eq!(url.path("/stores/a?b=c"), "/face/stores/a?b=c");
        assert!(url.is_plain());
        let url = Url::parse("http://[::1]:80").expect("an address");
        assert_eq!((url.host(), url.port()), ("::1", 80));
        assert!(!Url::parse("https://a.example").expect("one").is_plain());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "node-3:8080",
            "/face",
            "ftp://a",
            "http://",
            "http://a@b",
            "http://a/?b",
            "http://a b",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}

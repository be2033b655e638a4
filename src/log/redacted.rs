//! Addresses in messages.

/// An address as it may be shown: without anything that may be secret.
pub(super) fn shown(url: &str) -> String {
    let (place, settings) = match url.split_once('?') {
        Some((place, _)) => (place, "?..."),
        None => (url, ""),
    };
    let place = match place.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            format!("{scheme}://...@{host}")
        }
        None => place.to_owned(),
    };
    format!("{place}{settings}")
}

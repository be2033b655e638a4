//! What a request asks, and as of which position.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Deserialize;

use super::about::{About, Kind};
use crate::admin::Refusal;
use crate::base::{Offset, TopicPartition};

/// Rows per page: the default, and the maximum.
const ROWS: usize = 100;
const ROWS_MAX: usize = 1_000;
/// How long to wait for a position, in milliseconds: the default, and the maximum.
const WAIT_MS: u64 = 5_000;
const WAIT_MS_MAX: u64 = 30_000;

/// The parameters of all questions; each uses those that apply to it. A misspelt one is refused: without its bound, a
/// question would have another answer than was meant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    pub(super) partition: Option<u32>,
    at_least: Option<String>,
    wait_ms: Option<u64>,
    limit: Option<usize>,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    as_of_ms: Option<i64>,
    from: Option<String>,
    to: Option<String>,
    prefix: Option<String>,
    after: Option<String>,
    /// The application, in the address that a client is redirected to by one of its instances.
    pub(super) hop: Option<String>,
}

/// A question to one task.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// A key as JSON; for windows and sessions, those within a span.
    Key(String, Span),
    /// A key of a versioned store, as JSON: its newest version, or the one valid at a time, in milliseconds.
    Version(String, Option<i64>),
    /// One page of a key-value store.
    Page(Page),
}

/// Starts of windows, or ends of sessions, in milliseconds, both inclusive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) limit: usize,
}

/// Keys as JSON, in the order of their bytes: from the first, inclusive, to the second, exclusive; or a prefix of
/// the bytes.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) prefix: Option<String>,
    /// The bytes of the last key of the previous page.
    pub(super) after: Option<Vec<u8>>,
    pub(super) limit: usize,
}

/// The positions that a view must include.
#[derive(Clone, Debug)]
pub(super) struct AtLeast {
    pub(super) positions: Vec<(TopicPartition, Offset)>,
    pub(super) wait: Duration,
}

impl Parameters {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(ROWS).clamp(1, ROWS_MAX)
    }

    /// The question about a key of a store.
    ///
    /// # Errors
    /// 400 for parameters that say nothing about such a store.
    pub(super) fn key(&self, about: &About, key: String) -> Result<Question, Refusal> {
        let of_lists = [
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("prefix", self.prefix.is_some()),
            ("after", self.after.is_some()),
        ];
        if let Some((parameter, _)) = of_lists.iter().find(|(_, is_asked)| *is_asked) {
            return Err(bad(&format!(
                "`{parameter}` is for lists of rows (`/rows`), not for one key"
            )));
        }
        self.check_times(about)?;
        self.check_place(about)?;
        Ok(match about.kind {
            Kind::Versioned => Question::Version(key, self.as_of_ms),
            _ => Question::Key(key, self.span()),
        })
    }

    /// Refuses times that mean nothing for such a store.
    fn check_times(&self, about: &About) -> Result<(), Refusal> {
        let (name, kind) = (&about.name, about.kind);
        let has_span = self.from_ms.is_some() || self.to_ms.is_some();
        if has_span && !matches!(kind, Kind::Windows | Kind::Sessions) {
            return Err(bad(&format!(
                "`from_ms` and `to_ms` are for windows and sessions; store {name:?} is of the kind {}",
                kind.word()
            )));
        }
        if self.as_of_ms.is_some() && kind != Kind::Versioned {
            return Err(bad(&format!(
                "`as_of_ms` is for versioned stores; store {name:?} is of the kind {} and knows only what its rows \
                 are now",
                kind.word()
            )));
        }
        Ok(())
    }

    /// Refuses what only a task can answer where there is none.
    fn check_place(&self, about: &About) -> Result<(), Refusal> {
        let of_tasks = [
            ("partition", self.partition.is_some()),
            ("at_least", self.at_least.is_some()),
            ("wait_ms", self.wait_ms.is_some()),
        ];
        let asked = of_tasks.iter().find(|(_, is_asked)| *is_asked);
        match (asked, about.tasks()) {
            (Some((parameter, _)), None) => Err(bad(&format!(
                "store {:?} is global: every instance has all its rows, as far as it has read their topic; leave out \
                 `{parameter}`",
                about.name
            ))),
            _ => Ok(()),
        }
    }

    fn span(&self) -> Span {
        Span {
            from_ms: self.from_ms.unwrap_or(0).max(0),
            to_ms: self.to_ms.unwrap_or(i64::MAX),
            limit: self.limit(),
        }
    }

    /// The partition of a page, and what to read of it.
    ///
    /// # Errors
    /// 400 for a store without lists, and for parameters that contradict each other.
    pub(super) fn page(&self, about: &About) -> Result<(u32, Page), Refusal> {
        let name = &about.name;
        let instead = match about.kind {
            Kind::KeyValue => None,
            Kind::Windows | Kind::Sessions => Some("`from_ms` and `to_ms`"),
            Kind::Versioned => Some("`as_of_ms`"),
        };
        if let Some(with) = instead {
            return Err(bad(&format!(
                "store {name:?} is queried by key, with {with}"
            )));
        }
        self.check_times(about)?;
        self.check_place(about)?;
        if self.prefix.is_some() && (self.from.is_some() || self.to.is_some()) {
            return Err(bad("use either a prefix, or a range of keys"));
        }
        let (partition, after) = match &self.after {
            None => (self.partition.unwrap_or(0), None),
            Some(text) => place(text).ok_or_else(|| {
                bad("`after` is not a position in the list; use `next` of the previous page")
            })?,
        };
        let page = Page {
            from: self.from.clone(),
            to: self.to.clone(),
            prefix: self.prefix.clone(),
            after,
            limit: self.limit(),
        };
        Ok((partition, page))
    }

    pub(super) fn at_least(&self) -> Result<AtLeast, Refusal> {
        let wait_ms = self.wait_ms.unwrap_or(WAIT_MS).min(WAIT_MS_MAX);
        let texts = self.at_least.iter().flat_map(|texts| texts.split(','));
        let positions: Option<_> = texts.map(|text| position(text.trim())).collect();
        let positions = positions.ok_or_else(|| {
            bad(
                "`at_least` must be `TOPIC-PARTITION:POSITION`, several separated by commas, such as \
                 `marea-position` of an answer",
            )
        })?;
        Ok(AtLeast {
            positions,
            wait: Duration::from_millis(wait_ms),
        })
    }
}

fn bad(message: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, message)
}

fn position(text: &str) -> Option<(TopicPartition, Offset)> {
    let (partition, offset) = text.rsplit_once(':')?;
    let (topic, partition) = partition.rsplit_once('-')?;
    let offset: Offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
    (!topic.is_empty()).then_some(())?;
    Some((TopicPartition::new(topic, partition.parse().ok()?), offset))
}

/// Positions in the format of `at_least`.
pub(super) fn positions_text(positions: &[(TopicPartition, Offset)]) -> String {
    let texts: Vec<String> = positions
        .iter()
        .map(|(partition, offset)| format!("{partition}:{offset}"))
        .collect();
    texts.join(",")
}

/// A place in a list: a partition, and the bytes of the last key of it that was listed.
pub(super) fn place_text(partition: u32, last: Option<&[u8]>) -> String {
    let hex = last.map(|last| {
        let bytes = last.iter().map(|byte| format!("{byte:02x}"));
        format!("-{}", bytes.collect::<String>())
    });
    format!("{partition}{}", hex.unwrap_or_default())
}

fn place(text: &str) -> Option<(u32, Option<Vec<u8>>)> {
    let Some((partition, hex)) = text.split_once('-') else {
        return Some((text.parse().ok()?, None));
    };
    let pairs = hex.as_bytes().chunks(2).map(|pair| {
        let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
        u8::try_from(digit(0)? * 16 + digit(1)?).ok()
    });
    let last: Option<Vec<u8>> = pairs.collect();
    Some((partition.parse().ok()?, Some(last?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_what_it_was_written_as() {
        for (partition, last) in [
            (0, None),
            (7, Some(b"\x00a\xff".to_vec())),
            (3, Some(vec![])),
        ] {
            let text = place_text(partition, last.as_deref());
            assert_eq!(place(&text), Some((partition, last)), "{text}");
        }
        for text in ["", "-", "a", "1-0", "1-0g", "1-é", "-61", "1-61-"] {
            assert_eq!(place(text), None, "{text}");
        }
    }

    #[test]
    fn positions_are_what_they_were_written_as() {
        let positions = vec![
            (TopicPartition::new("words", 0), 18),
            (TopicPartition::new("a-b.c", 12), 0),
        ];
        let text = positions_text(&positions);
        let asked = Parameters {
            at_least: Some(text),
            wait_ms: Some(u64::MAX),
            ..Parameters::default()
        };
        let asked = asked.at_least().expect("positions");
        assert_eq!(asked.positions, positions);
        assert_eq!(asked.wait, Duration::from_millis(WAIT_MS_MAX));
        for text in [
            "",
            "words",
            "words:1",
            "words-0",
            "words-0:-1",
            "-0:1",
            "words-0:1,",
        ] {
            let asked = Parameters {
                at_least: Some(text.to_owned()),
                ..Parameters::default()
            };
            assert!(asked.at_least().is_err(), "{text}");
        }
    }
}

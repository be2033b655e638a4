//! Metrics as text: OpenMetrics 1.0, or the older Prometheus format.
//!
//! ```text
//!  # TYPE marea_input_bytes counter            a family: its name is without the suffix of its samples
//!  # UNIT marea_input_bytes bytes              the unit, which the name ends with
//!  # HELP marea_input_bytes What came in.
//!  marea_input_bytes_total{topic="readings"} 12
//!  # EOF
//! ```
//!
//! Written here rather than by a library: the numbers come from a snapshot, so all that remains of a registry is
//! to write them out.

use std::fmt::{self, Display, Write as _};

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// The text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    /// Version 0.0.4, for scrapers that do not know OpenMetrics.
    Prometheus,
}

impl Format {
    /// The format that a request prefers. OpenMetrics if it states no preference, or accepts anything.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(ACCEPT).iter();
        let accepts = accepts.filter_map(|value| value.to_str().ok());
        let (mut open_metrics, mut plain) = (None, None);
        for range in accepts.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or("");
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let weight = weight.map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0));
            let best = match kind {
                "application/openmetrics-text" => &mut open_metrics,
                "text/plain" | "text/*" => &mut plain,
                _ => continue,
            };
            *best = Some(best.unwrap_or(0.0_f32).max(weight));
        }
        match (open_metrics, plain) {
            (Some(open_metrics), Some(plain)) if plain > open_metrics => Self::Prometheus,
            (None, Some(plain)) if plain > 0.0 => Self::Prometheus,
            _ => Self::OpenMetrics,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The type of the samples of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, until the process restarts.
    Counter,
    Gauge,
    Histogram,
    /// Labels, with the value 1.
    Info,
}

/// Metrics being written.
pub(super) struct Exposition {
    format: Format,
    text: String,
}

/// A family being written: all of its samples, one after the other.
pub(super) struct Family<'a> {
    name: &'a str,
    kind: Kind,
    text: &'a mut String,
}

/// The labels of a sample.
pub(super) type Labels<'a> = &'a [(&'a str, &'a dyn Display)];

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            text: String::with_capacity(16 << 10),
        }
    }

    /// Begins a family. A name that ends with `_seconds` or `_bytes` has that unit.
    pub(super) fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        let text = &mut self.text;
        let (suffix, kind_name) = match (kind, self.format) {
            (Kind::Counter, Format::OpenMetrics) => ("", "counter"),
            (Kind::Counter, Format::Prometheus) => ("_total", "counter"),
            (Kind::Gauge, _) => ("", "gauge"),
            (Kind::Histogram, _) => ("", "histogram"),
            (Kind::Info, Format::OpenMetrics) => ("", "info"),
            (Kind::Info, Format::Prometheus) => ("_info", "gauge"),
        };
        let _ = writeln!(text, "# TYPE {name}{suffix} {kind_name}");
        let units = ["seconds", "bytes"];
        let unit = units.iter().find(|unit| {
            name.strip_suffix(**unit)
                .is_some_and(|rest| rest.ends_with('_'))
        });
        if let (Some(unit), Format::OpenMetrics) = (unit, self.format) {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(text, "# HELP {name}{suffix} {}", Escaped(help));
        Family { name, kind, text }
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    /// A sample of a counter, a gauge or an info.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.line(suffix, labels, None, value);
    }

    /// The samples of a histogram: for each upper bound in seconds (`None` for the last), how many values were at
    /// most that large.
    pub(super) fn histogram(
        &mut self,
        labels: Labels<'_>,
        buckets: impl Iterator<Item = (Option<Seconds>, u64)>,
        sum: Seconds,
    ) {
        let mut count = 0;
        for (bound, at_most) in buckets {
            count = at_most;
            match bound {
                Some(bound) => self.line("_bucket", labels, Some(&bound), at_most),
                None => self.line("_bucket", labels, Some(&"+Inf"), at_most),
            }
        }
        self.line("_count", labels, None, count);
        self.line("_sum", labels, None, sum);
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        bound: Option<&dyn Display>,
        value: impl Display,
    ) {
        let text = &mut *self.text;
        let _ = write!(text, "{}{suffix}", self.name);
        let bound = bound.map(|bound| ("le", bound));
        let labels = labels.iter().copied().chain(bound);
        let mut between = '{';
        for (name, value) in labels {
            let value = value.to_string();
            let _ = write!(text, "{between}{name}=\"{}\"", Escaped(&value));
            between = ',';
        }
        if between == ',' {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

/// A duration, or a time since 1970, written in seconds without rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seconds {
    pub(super) ns: i128,
}

impl Seconds {
    pub(super) fn of_ms(ms: impl Into<i128>) -> Self {
        Self {
            ns: ms.into() * 1_000_000,
        }
    }
}

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.ns < 0 { "-" } else { "" };
        let ns = self.ns.unsigned_abs();
        let digits = format!("{:09}", ns % 1_000_000_000);
        let digits = digits.trim_end_matches('0');
        let digits = if digits.is_empty() { "0" } else { digits };
        write!(f, "{sign}{}.{digits}", ns / 1_000_000_000)
    }
}

/// Text between quotes, or after HELP.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header"));
        Format::wanted(&headers)
    }

    #[test]
    fn a_scraper_gets_the_format_that_it_prefers() {
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::OpenMetrics);
        assert_eq!(wanted("*/*"), Format::OpenMetrics);
        assert_eq!(wanted("text/plain"), Format::Prometheus);
        assert_eq!(wanted("text/plain;version=0.0.4"), Format::Prometheus);
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(wanted(prometheus), Format::OpenMetrics);
        let other = "application/openmetrics-text;q=0.2, text/plain;q=0.9";
        assert_eq!(wanted(other), Format::Prometheus);
        assert_eq!(wanted("text/plain;q=0"), Format::OpenMetrics);
    }

    #[test]
    fn values_are_written_without_rounding() {
        assert_eq!(Seconds::of_ms(0).to_string(), "0.0");
        assert_eq!(
            Seconds::of_ms(1_785_283_200_123_i64).to_string(),
            "1785283200.123"
        );
        assert_eq!(Seconds::of_ms(-1).to_string(), "-0.001");
        assert_eq!(Seconds { ns: 2_000_000_001 }.to_string(), "2.000000001");
    }

    #[test]
    fn labels_are_escaped() {
        let mut exposition = Exposition::new(Format::OpenMetrics);
        let mut family = exposition.family("a_bytes", Kind::Counter, "Of \"a\"\n.");
        family.sample(&[("b", &"c\\\"\n")], 1);
        let expected = "# TYPE a_bytes counter\n# UNIT a_bytes bytes\n# HELP a_bytes Of \\\"a\\\"\\n.\n\
                        a_bytes_total{b=\"c\\\\\\\"\\n\"} 1\n# EOF\n";
        assert_eq!(exposition.finish(), expected);
    }

    #[test]
    fn the_older_format_names_its_samples() {
        let mut exposition = Exposition::new(Format::Prometheus);
        exposition
            .family("a_bytes", Kind::Counter, "b")
            .sample(&[], 1);
        let expected = "# TYPE a_bytes_total counter\n# HELP a_bytes_total b\na_bytes_total 1\n";
        assert_eq!(exposition.finish(), expected);
    }
}

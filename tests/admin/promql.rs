//! Checks PromQL queries against the existing metrics: names, labels and their values, and that functions are
//! applied to the right types. It supports as much of the language as our queries use.

use std::collections::{BTreeMap, BTreeSet};

use crate::openmetrics::Families;

/// Labels that a scraper adds.
const ADDED: [&str; 2] = ["job", "instance"];
const AGGREGATIONS: [&str; 2] = ["sum", "max"];
/// Functions for counters.
const OF_COUNTERS: [&str; 2] = ["rate", "increase"];
const OF_GAUGES: [&str; 1] = ["deriv"];
const OTHERS: [&str; 2] = ["histogram_quantile", "scalar"];
const OPERATORS: [&str; 1] = ["and"];

/// The samples of one name.
#[derive(Debug, Default)]
struct Series {
    kind: String,
    /// Labels, with their values.
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// All samples by their names.
pub struct Known(BTreeMap<String, Series>);

impl Known {
    pub fn of(families: &Families) -> Self {
        let mut known = BTreeMap::<String, Series>::new();
        // A scraper's own: whether the last scrape succeeded.
        known.entry("up".to_owned()).or_default().kind = "gauge".to_owned();
        for (name, family) in families {
            let suffixes: &[&str] = match family.kind.as_str() {
                "counter" => &["_total"],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_count", "_sum"],
                _ => &[""],
            };
            for suffix in suffixes {
                let series = known.entry(format!("{name}{suffix}")).or_default();
                series.kind.clone_from(&family.kind);
            }
            for sample in &family.samples {
                let series = known.entry(sample.name.clone()).or_default();
                for (label, value) in &sample.labels {
                    let values = series.labels.entry(label.clone()).or_default();
                    values.insert(value.clone());
                }
            }
        }
        Self(known)
    }

    /// The labels of a query's result, or what is wrong with the query.
    pub fn check(&self, query: &str) -> Result<BTreeSet<String>, String> {
        let tokens = tokens(query)?;
        let mut reader = Reader {
            known: &self.0,
            tokens: &tokens,
            at: 0,
            frames: Vec::new(),
            shown: BTreeSet::new(),
        };
        match reader.read() {
            Ok(()) => Ok(reader.shown),
            Err(wrong) => Err(format!("{wrong}, in {query}")),
        }
    }
}

/// A name, a number, a text with its quotes, or a sign.
fn tokens(query: &str) -> Result<Vec<&str>, String> {
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |char: char| char.is_ascii_alphanumeric() || "_.$".contains(char);
        let length = match first {
            '"' => rest[1..].find('"').ok_or("a text does not end")? + 2,
            first if is_word(first) => rest.find(|char| !is_word(char)).unwrap_or(rest.len()),
            _ if ["=~", "!~", "!=", "==", ">=", "<="].contains(&&rest[..rest.len().min(2)]) => 2,
            first if "(){}[],=<>+-/*".contains(first) => 1,
            other => return Err(format!("an unknown sign {other}")),
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// The context of a part of a query.
struct Frame<'a> {
    function: &'a str,
    /// For an aggregation: what it groups by.
    by: Option<Vec<&'a str>>,
}

struct Reader<'a> {
    known: &'a BTreeMap<String, Series>,
    tokens: &'a [&'a str],
    at: usize,
    frames: Vec<Frame<'a>>,
    shown: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> &'a str {
        self.tokens.get(self.at).copied().unwrap_or("")
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        match self.next() {
            found if found == wanted => Ok(()),
            found => Err(format!("{found:?} in the place of {wanted:?}")),
        }
    }

    fn read(&mut self) -> Result<(), String> {
        let mut metrics = 0;
        while self.at < self.tokens.len() {
            let token = self.next();
            match token {
                "(" => self.frames.push(Frame {
                    function: "",
                    by: None,
                }),
                ")" => drop(self.frames.pop().ok_or("a bracket that was not opened")?),
                "on" => drop(self.names(&ADDED)?),
                _ if AGGREGATIONS.contains(&token) => {
                    let mut by = Vec::new();
                    if self.peek() == "by" {
                        self.at += 1;
                        by = self.names(&[])?;
                        self.shown
                            .extend(by.iter().map(|label| (*label).to_owned()));
                    }
                    self.open(token, Some(by))?;
                }
                _ if self.peek() == "(" && !OPERATORS.contains(&token) && is_name(token) => {
                    let known = [&OF_COUNTERS[..], &OF_GAUGES, &OTHERS].concat();
                    if !known.contains(&token) {
                        return Err(format!("an unknown function {token}"));
                    }
                    self.open(token, None)?;
                }
                _ if is_name(token) && !OPERATORS.contains(&token) => {
                    self.metric(token)?;
                    metrics += 1;
                }
                _ => {}
            }
        }
        if !self.frames.is_empty() || metrics == 0 {
            return Err("a bracket is not closed, or nothing is asked".to_owned());
        }
        Ok(())
    }

    fn open(&mut self, function: &'a str, by: Option<Vec<&'a str>>) -> Result<(), String> {
        self.frames.push(Frame { function, by });
        self.expect("(")
    }

    /// Labels in parentheses, out of these if there are any.
    fn names(&mut self, allowed: &[&str]) -> Result<Vec<&'a str>, String> {
        self.expect("(")?;
        let mut names = Vec::new();
        loop {
            let name = self.next();
            if !is_name(name) || !(allowed.is_empty() || allowed.contains(&name)) {
                return Err(format!("{name:?} is no label to group by"));
            }
            names.push(name);
            match self.next() {
                "," => {}
                ")" => return Ok(names),
                other => return Err(format!("{other:?} among labels")),
            }
        }
    }

    fn metric(&mut self, name: &'a str) -> Result<(), String> {
        let known = self.known;
        let series = known.get(name).ok_or(format!("there is no {name}"))?;
        if self.peek() == "{" {
            self.at += 1;
            while self.peek() != "}" {
                self.matcher(name, series)?;
                if self.peek() == "," {
                    self.at += 1;
                }
            }
            self.at += 1;
        }
        let function = self.frames.last().map_or("", |frame| frame.function);
        let is_counter = ["counter", "histogram"].contains(&&*series.kind);
        let fits = if is_counter {
            OF_COUNTERS.contains(&function)
        } else {
            !OF_COUNTERS.contains(&function)
        };
        if !fits {
            return Err(format!("{name} is a {}, in {function:?}", series.kind));
        }
        let wants_range = OF_COUNTERS.contains(&function) || OF_GAUGES.contains(&function);
        if wants_range != (self.peek() == "[") {
            return Err(format!("a range of {name} is missing, or is one too many"));
        }
        if wants_range {
            self.at += 2;
            self.expect("]")?;
        }
        self.grouped(name, series)
    }

    /// Whether the labels of a grouping exist on the metric, and quantiles are taken of a histogram.
    fn grouped(&self, name: &str, series: &Series) -> Result<(), String> {
        for label in self
            .frames
            .iter()
            .filter_map(|frame| frame.by.as_ref())
            .flatten()
        {
            if !ADDED.contains(label) && !series.labels.contains_key(*label) {
                return Err(format!("{name} has no label {label}"));
            }
        }
        let quantile = |frame: &Frame<'_>| frame.function == "histogram_quantile";
        let outer = self.frames.iter().position(quantile);
        let is_bucket = series.kind == "histogram" && name.ends_with("_bucket");
        if outer.is_some() != is_bucket {
            return Err(format!(
                "{name}: quantiles are of buckets, and buckets for quantiles"
            ));
        }
        let inner = &self.frames[outer.unwrap_or(self.frames.len())..];
        let mut groups = inner.iter().filter_map(|frame| frame.by.as_ref());
        if groups.any(|by| !by.contains(&"le")) {
            return Err(format!("{name} loses its bounds"));
        }
        Ok(())
    }

    fn matcher(&mut self, name: &str, series: &Series) -> Result<(), String> {
        let (label, sign, value) = (self.next(), self.next(), self.next());
        if !["=", "=~", "!=", "!~"].contains(&sign) {
            return Err(format!("{sign:?} after label {label}"));
        }
        if ADDED.contains(&label) {
            return Ok(());
        }
        let values = series.labels.get(label);
        let values = values.ok_or(format!("{name} has no label {label}"))?;
        for value in value.trim_matches('"').split('|') {
            if !values.contains(value) {
                return Err(format!("{name} has no {label} {value:?}"));
            }
        }
        Ok(())
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_ascii_lowercase())
}

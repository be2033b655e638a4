//! Parses OpenMetrics text as strictly as the specification demands, and reports violations.

use std::collections::{BTreeMap, BTreeSet};

/// A sample: its name, its labels, its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// What the text says of a family.
#[derive(Clone, Debug, Default)]
pub struct Family {
    pub kind: String,
    pub unit: String,
    pub help: String,
    pub samples: Vec<Sample>,
}

/// All families by name.
pub type Families = BTreeMap<String, Family>;

/// Parses a text, or returns what is wrong with it.
pub fn parse(text: &str) -> Result<Families, String> {
    let body = text
        .strip_suffix("# EOF\n")
        .ok_or("it does not end with # EOF")?;
    if body.contains("# EOF") {
        return Err("# EOF within the text".to_owned());
    }
    let mut families = Families::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    for line in body.lines() {
        let wrong = |what: &str| format!("{what}: {line}");
        if let Some(rest) = line.strip_prefix("# ") {
            let mut parts = rest.splitn(3, ' ');
            let (Some(word), Some(name), Some(said)) = (parts.next(), parts.next(), parts.next())
            else {
                return Err(wrong("metadata has three parts"));
            };
            if name != current {
                if families.contains_key(name) {
                    return Err(wrong("a family comes twice, or its lines are not together"));
                }
                check_name(name).map_err(|what| wrong(&what))?;
                families.insert(name.to_owned(), Family::default());
                current = name.to_owned();
            }
            let family = families.get_mut(name).ok_or_else(|| wrong("no family"))?;
            if !family.samples.is_empty() {
                return Err(wrong("metadata after samples"));
            }
            let slot = match word {
                "TYPE" => &mut family.kind,
                "UNIT" => &mut family.unit,
                "HELP" => &mut family.help,
                _ => return Err(wrong("unknown metadata")),
            };
            if !slot.is_empty() || said.is_empty() {
                return Err(wrong("said twice, or nothing said"));
            }
            *slot = said.to_owned();
            if word == "UNIT" && !name.ends_with(&format!("_{said}")) {
                return Err(wrong("the name does not end with its unit"));
            }
            continue;
        }
        let sample = sample(line).map_err(|what| wrong(&what))?;
        let family = families
            .get_mut(&current)
            .ok_or_else(|| wrong("a sample of no family"))?;
        let suffix = sample.name.strip_prefix(&current[..]);
        let suffix = suffix.ok_or_else(|| wrong("a sample of another family"))?;
        let fits = match family.kind.as_str() {
            "counter" => suffix == "_total" && sample.value >= 0.0,
            "gauge" => suffix.is_empty(),
            "info" => suffix == "_info" && sample.value == 1.0,
            "histogram" => ["_bucket", "_count", "_sum"].contains(&suffix),
            _ => false,
        };
        if !fits {
            return Err(wrong("the name or the value does not fit the type"));
        }
        if !seen.insert((sample.name.clone(), sample.labels.clone())) {
            return Err(wrong("a sample comes twice"));
        }
        family.samples.push(sample);
    }
    for (name, family) in &families {
        if family.kind.is_empty() || family.help.is_empty() {
            return Err(format!("{name} has no TYPE or no HELP"));
        }
        if family.kind == "counter" && name.ends_with("_total") {
            return Err(format!(
                "{name}: the name of a counter's family ends with _total"
            ));
        }
        if family.kind == "histogram" {
            histogram(name, family)?;
        }
    }
    Ok(families)
}

fn check_name(name: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    match name.bytes().all(legal) && name.starts_with(|first: char| first.is_ascii_lowercase()) {
        true => Ok(()),
        false => Err(format!("{name} is no name")),
    }
}

fn sample(line: &str) -> Result<Sample, String> {
    let (name, rest) = match line.find(['{', ' ']) {
        Some(at) => line.split_at(at),
        None => return Err("no value".to_owned()),
    };
    check_name(name)?;
    let mut labels = BTreeMap::new();
    let value = match rest.strip_prefix('{') {
        None => rest.strip_prefix(' ').ok_or("no blank")?,
        Some(mut rest) => loop {
            let (label, after) = rest.split_once("=\"").ok_or("no label")?;
            check_name(label)?;
            let (text, after) = quoted(after)?;
            if labels.insert(label.to_owned(), text).is_some() {
                return Err(format!("label {label} twice"));
            }
            match (after.strip_prefix(','), after.strip_prefix("} ")) {
                (Some(more), _) => rest = more,
                (_, Some(value)) => break value,
                _ => return Err("labels do not end".to_owned()),
            }
        },
    };
    let value = value.parse().map_err(|error| format!("{error}"))?;
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Text up to the quote that ends it, and what comes after.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut read = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((read, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => read.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => read.push(escaped),
                _ => return Err("an unknown escape".to_owned()),
            },
            char => read.push(char),
        }
    }
    Err("a quote does not end".to_owned())
}

/// Buckets grow, and the last one has no bound and equals the count.
fn histogram(name: &str, family: &Family) -> Result<(), String> {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in family
        .samples
        .iter()
        .filter(|sample| sample.name.ends_with("_bucket"))
    {
        let mut labels = sample.labels.clone();
        let bound = labels
            .remove("le")
            .ok_or(format!("{name}: a bucket without le"))?;
        let bound = match bound.as_str() {
            "+Inf" => f64::INFINITY,
            bound => bound.parse().map_err(|error| format!("{name}: {error}"))?,
        };
        series
            .entry(labels)
            .or_default()
            .push((bound, sample.value));
    }
    for (labels, buckets) in series {
        let grow = buckets
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let last = buckets.last().filter(|(bound, _)| bound.is_infinite());
        let of = |suffix: &str| {
            let name = format!("{name}{suffix}");
            let found = family
                .samples
                .iter()
                .find(|sample| sample.name == name && sample.labels == labels);
            found.map(|sample| sample.value)
        };
        let counted = last.is_some_and(|(_, count)| of("_count") == Some(*count));
        if !grow || !counted || of("_sum").is_none() {
            return Err(format!("{name}{labels:?}: buckets, count or sum are wrong"));
        }
    }
    Ok(())
}

#[test]
fn what_the_specification_forbids_is_found() {
    let family = "# TYPE a counter\n# HELP a b\n";
    let good = format!("{family}a_total{{x=\"1\"}} 1\na_total{{x=\"2\"}} 1\n# EOF\n");
    assert!(parse(&good).is_ok(), "{:?}", parse(&good));
    for bad in [
        good.replace("# EOF\n", ""),
        good.replace("\"2\"", "\"1\""),
        good.replace("a_total", "a"),
        good.replace("counter", "gauge"),
        good.replace("# HELP a b\n", ""),
        good.replace("\"1\"", "\"1"),
        format!("{family}{good}"),
        good.replace("# HELP", "# UNIT a seconds\n# HELP"),
        good.replace("} 1", "} one"),
    ] {
        assert!(parse(&bad).is_err(), "{bad}");
    }
    let buckets = "# TYPE a histogram\n# HELP a b\na_bucket{le=\"1.0\"} 2\na_bucket{le=\"+Inf\"} 3\na_count 3\na_sum 4.5\n# EOF\n";
    assert!(parse(buckets).is_ok(), "{:?}", parse(buckets));
    assert!(parse(&buckets.replace("} 2", "} 4")).is_err());
    assert!(parse(&buckets.replace("a_count 3", "a_count 2")).is_err());
    assert!(parse(&buckets.replace("+Inf", "9.0")).is_err());
}

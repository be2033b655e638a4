//! A topic's settings in Kafka's terms, and which existing ones are unacceptable.

use rdkafka::admin::ConfigResource;

use crate::log::{Cleanup, DEFAULT_DELETE_RETENTION_MS, TopicSpec};

/// The maximum overhead of a batch of one record around key, value and headers. Brokers count it, so a
/// topic's `max.message.bytes` is larger by this than the records it accepts.
const FRAME_BYTES: usize = 512;

/// The settings of a topic, as names and values.
pub(super) fn settings_of(spec: &TopicSpec) -> Vec<(&'static str, String)> {
    let cleanup = match spec.cleanup {
        Cleanup::Delete => "delete",
        Cleanup::Compact => "compact",
        Cleanup::CompactDelete => "compact,delete",
    };
    let retention_bytes = spec
        .retention_bytes
        .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let max_bytes =
        i32::try_from(spec.max_record_bytes.saturating_add(FRAME_BYTES)).unwrap_or(i32::MAX);
    vec![
        ("cleanup.policy", cleanup.to_owned()),
        ("retention.ms", spec.retention_ms.unwrap_or(-1).to_string()),
        ("retention.bytes", retention_bytes.to_string()),
        ("delete.retention.ms", spec.delete_retention_ms.to_string()),
        ("min.compaction.lag.ms", spec.compaction_lag_ms.to_string()),
        ("max.message.bytes", max_bytes.to_string()),
        ("message.timestamp.type", "CreateTime".to_owned()),
        // By default brokers refuse timestamps more than an hour ahead of their clock; event time may be.
        ("message.timestamp.before.max.ms", i64::MAX.to_string()),
        ("message.timestamp.after.max.ms", i64::MAX.to_string()),
    ]
}

/// What [`settings_of`] or somebody else has written.
pub(super) fn spec_of(name: &str, partitions: usize, settings: &ConfigResource) -> TopicSpec {
    let text = |key: &str| settings.get(key).and_then(|entry| entry.value.as_deref());
    let number = |key: &str| text(key).and_then(|value| value.parse::<i64>().ok());
    let policy = text("cleanup.policy").unwrap_or("delete");
    let cleanup = match (policy.contains("compact"), policy.contains("delete")) {
        (true, true) => Cleanup::CompactDelete,
        (true, false) => Cleanup::Compact,
        _ => Cleanup::Delete,
    };
    let max_bytes = number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok());
    let mut spec = TopicSpec::new(name, u32::try_from(partitions).unwrap_or(u32::MAX));
    spec.cleanup = cleanup;
    spec.retention_ms = number("retention.ms").filter(|ms| *ms >= 0);
    spec.retention_bytes = number("retention.bytes").and_then(|bytes| u64::try_from(bytes).ok());
    spec.delete_retention_ms = number("delete.retention.ms").unwrap_or(DEFAULT_DELETE_RETENTION_MS);
    spec.compaction_lag_ms = number("min.compaction.lag.ms").unwrap_or(0);
    if let Some(bytes) = max_bytes {
        spec.max_record_bytes = bytes.saturating_sub(FRAME_BYTES);
    }
    spec
}

/// The settings that would lose or refuse records that `wanted` keeps: name, value, and what is needed.
pub(super) fn differences(
    wanted: &TopicSpec,
    settings: &ConfigResource,
) -> Vec<(&'static str, String, String)> {
    let mut found = Vec::new();
    for (name, needed) in settings_of(wanted) {
        // Older brokers do not know all of them.
        let Some(value) = settings.get(name).and_then(|entry| entry.value.as_ref()) else {
            continue;
        };
        if !is_enough(wanted, name, value, &needed) {
            found.push((name, value.clone(), needed));
        }
    }
    found
}

fn is_enough(wanted: &TopicSpec, name: &str, value: &str, needed: &str) -> bool {
    let number = |text: &str| text.parse::<i64>().unwrap_or(0);
    match name {
        "cleanup.policy" => {
            let sorted = |text: &str| {
                let mut words: Vec<String> = text.split(',').map(|w| w.trim().to_owned()).collect();
                words.sort();
                words
            };
            sorted(value) == sorted(needed)
        }
        // Only topics with deletion by age or size have them.
        "retention.ms" | "retention.bytes" if wanted.cleanup == Cleanup::Compact => true,
        "retention.ms" | "retention.bytes" => {
            let (value, needed) = (number(value), number(needed));
            value < 0 || (needed >= 0 && value >= needed)
        }
        // Checked where it matters.
        "delete.retention.ms" => true,
        "message.timestamp.type" => value == needed,
        _ => number(value) >= number(needed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::admin::{ConfigEntry, ConfigSource, OwnedResourceSpecifier};

    fn stored(spec: &TopicSpec) -> ConfigResource {
        let entry = |(name, value): (&str, String)| ConfigEntry {
            name: name.to_owned(),
            value: Some(value),
            source: ConfigSource::DynamicTopic,
            is_read_only: false,
            is_default: false,
            is_sensitive: false,
        };
        ConfigResource {
            specifier: OwnedResourceSpecifier::Topic(spec.name.clone()),
            entries: settings_of(spec).into_iter().map(entry).collect(),
        }
    }

    #[test]
    fn a_topics_settings_come_back_as_they_were_asked_for() {
        let plain = TopicSpec::new("t", 3);
        let mut full = TopicSpec::new("u", 1).with_cleanup(Cleanup::CompactDelete);
        full.retention_ms = Some(7);
        full.retention_bytes = Some(8);
        full.delete_retention_ms = 9;
        full.compaction_lag_ms = 10;
        full.max_record_bytes = 100;
        for spec in [plain, full.clone(), full.with_cleanup(Cleanup::Compact)] {
            let partitions = spec.partitions as usize;
            assert_eq!(spec_of(&spec.name, partitions, &stored(&spec)), spec);
            assert!(differences(&spec, &stored(&spec)).is_empty());
        }
    }

    #[test]
    fn settings_that_lose_or_refuse_records_are_named() {
        let keeps = TopicSpec::new("t", 1).with_cleanup(Cleanup::CompactDelete);
        let changed = |name: &str, value: &str| {
            let mut settings = stored(&keeps);
            for entry in &mut settings.entries {
                if entry.name == name {
                    entry.value = Some(value.to_owned());
                }
            }
            differences(&keeps, &settings)
        };
        for (name, value) in [
            ("retention.ms", "604800000"),
            ("retention.bytes", "1"),
            ("max.message.bytes", "1000"),
            ("message.timestamp.type", "LogAppendTime"),
            ("message.timestamp.after.max.ms", "3600000"),
            ("cleanup.policy", "compact"),
        ] {
            let found = changed(name, value);
            assert!(
                matches!(&found[..], [(found, actual, _)] if *found == name && actual == value)
            );
        }
        let lagging = TopicSpec {
            compaction_lag_ms: 5,
            ..keeps.clone()
        };
        let found = differences(&lagging, &stored(&keeps));
        assert!(matches!(&found[..], [("min.compaction.lag.ms", actual, _)] if actual == "0"));
        for (name, value) in [
            ("max.message.bytes", "100000000"),
            ("min.compaction.lag.ms", "5"),
            ("cleanup.policy", "delete,compact"),
            ("delete.retention.ms", "1"),
        ] {
            assert!(changed(name, value).is_empty(), "{name}");
        }
    }
}

//! Queries over HTTP of two instances that share the tasks on a broker: each answers for both.

use std::collections::BTreeSet;

use marea::prelude::*;

use crate::broker::Broker;
use crate::cases::Case;
use crate::served::{Instance, PARTITIONS, partition_of, send};

pub const CASES: &[(&str, Case)] = &[(
    "queries::a_key_of_the_other_instance_is_read_as_of_a_position",
    a_key_of_the_other_instance_is_read_as_of_a_position,
)];

fn a_key_of_the_other_instance_is_read_as_of_a_position(broker: &Broker) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(ask(broker));
}

async fn ask(broker: &Broker) {
    let log = broker.fresh_log();
    log.create_topics(&[TopicSpec::new("words", PARTITIONS)])
        .expect("a topic");
    let pair = [
        Instance::start(&broker.log()).await,
        Instance::start(&broker.log()).await,
    ];
    for instance in &pair {
        instance.until_it_has(PARTITIONS as usize / 2).await;
    }
    let here = pair.each_ref().map(|instance| {
        let tasks = instance.application.queries().tasks();
        let partitions = tasks.into_iter().map(|task| task.partition);
        partitions.collect::<BTreeSet<u32>>()
    });
    let (mut own, mut others) = ([0; 2], [0; 2]);
    for number in 0..i64::from(PARTITIONS) * 4 {
        let key = format!("key-{number}");
        for (asked, instance) in pair.iter().enumerate() {
            // The question is asked when the record is written and not yet processed.
            let position = send(&log, &key, Some(number), 1_000);
            let row = instance.row("sums", &key, &position).await;
            let times = asked as i64 + 1;
            assert_eq!(row["value"], number * times, "{row}");
            assert_eq!(row["key"], key.as_str());
            let count = match here[asked].contains(&partition_of(&row)) {
                true => &mut own,
                false => &mut others,
            };
            count[asked] += 1;
            // What has not happened yet is waited for at the other instance, too, and not for ever.
            let (place, offset) = position.rsplit_once(':').expect("a position");
            let later = offset.parse::<i64>().expect("a number") + 1_000;
            let path = format!("/stores/sums/key/%22{key}%22?at_least={place}:{later}&wait_ms=1");
            let answer = instance.get(&path).await;
            assert_eq!(answer.status, 503, "{answer:?}");
            assert_eq!(answer.header("retry-after"), "1");
            assert!(
                answer.body.contains("has not been read up to"),
                "{answer:?}"
            );
        }
    }
    // No task has moved meanwhile, or what was counted says nothing.
    for (instance, before) in pair.iter().zip(&here) {
        let tasks = instance.application.queries().tasks();
        let now: BTreeSet<u32> = tasks.into_iter().map(|task| task.partition).collect();
        assert_eq!(now, *before);
    }
    for asked in 0..2 {
        assert!(
            own[asked] > 0 && others[asked] > 0,
            "keys of both, asked at both: {own:?} {others:?}"
        );
    }
    for mut instance in pair {
        instance.close();
    }
}

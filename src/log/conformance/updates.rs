use std::sync::Arc;

use super::{
    Factory, LOOK, Offset, Reader, TopicPartition, TopicSpec, append, assign, at, drain,
    eventually, read, start_with, update,
};
use crate::base::ErrorKind;
use crate::log::Skipped;

fn texts(records: Vec<(u32, Offset, String)>) -> Vec<String> {
    records.into_iter().map(|(_, _, text)| text).collect()
}

/// The reader's positions in these partitions.
fn stands(reader: &dyn Reader, places: &[&TopicPartition]) -> Vec<(TopicPartition, Offset)> {
    let stand = |place: &&TopicPartition| {
        let position = reader.position(place).expect("assigned");
        ((*place).clone(), position)
    };
    places.iter().map(stand).collect()
}

/// Partitions are added and removed while another stays: its pause lasts, no record of it is lost or
/// repeated, and deletions before the reader's position are still reported.
pub fn an_update_leaves_alone_what_stays(factory: Factory<'_>) {
    let log = start_with(factory, "t", 3);
    let (p, q, r) = (at("t", 0), at("t", 1), at("t", 2));
    append(&*log, &p, &["gone"]);
    append(&*log, &p, &["a"]);
    let second = read(&*log, &p, 0)[1].0;
    log.delete_records(&[(p.clone(), second)]).expect("deleted");
    let mut reader = log.reader(1 << 20).expect("a reader");
    update(&mut *reader, &[(p.clone(), 0)]);
    assert_eq!(texts(drain(&*log, &mut *reader, &[&p])), ["a"]);
    reader.pause(&p, true);
    append(&*log, &p, &["b"]);
    append(&*log, &q, &["x"]);
    // A backend that fetches ahead has b by now.
    reader.poll(1 << 20, LOOK).expect("readable");
    let mut wanted = stands(&*reader, &[&p]);
    wanted.push((q.clone(), 0));
    update(&mut *reader, &wanted);
    assert_eq!(
        texts(drain(&*log, &mut *reader, &[&q])),
        ["x"],
        "p is paused"
    );
    let told = Skipped {
        partition: p.clone(),
        from: 0,
        to: second,
    };
    assert_eq!(reader.skipped(), [told]);
    assert_eq!(reader.skipped(), []);
    reader.pause(&p, false);
    assert_eq!(texts(drain(&*log, &mut *reader, &[&p])), ["b"]);
    for n in 0..5 {
        let value = format!("n{n}");
        append(&*log, &p, &[&value]);
        let mut wanted = stands(&*reader, &[&p]);
        if n % 2 == 0 {
            wanted.insert(0, (r.clone(), 0));
        }
        update(&mut *reader, &wanted);
        assert_eq!(texts(drain(&*log, &mut *reader, &[&p])), [value]);
        assert_eq!(reader.position(&q), None);
        assert_eq!(reader.position(&r).is_some(), n % 2 == 0);
    }
    append(&*log, &r, &["z"]);
    let mut wanted = stands(&*reader, &[&p]);
    wanted.push((r.clone(), 0));
    update(&mut *reader, &wanted);
    assert_eq!(texts(drain(&*log, &mut *reader, &[&p, &r])), ["z"]);
}

/// A partition with a different position starts there, as after an assignment; the others continue.
pub fn an_update_puts_the_others_where_it_says(factory: Factory<'_>) {
    let log = start_with(factory, "t", 2);
    let (p, q) = (at("t", 0), at("t", 1));
    for value in ["a", "b", "c"] {
        append(&*log, &p, &[value]);
    }
    append(&*log, &q, &["x"]);
    let offsets: Vec<Offset> = read(&*log, &p, 0).into_iter().map(|(at, _)| at).collect();
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(p.clone(), 0), (q.clone(), 0)]);
    assert_eq!(drain(&*log, &mut *reader, &[&p, &q]).len(), 4);
    for back in [0, 2, 1].repeat(3) {
        reader.pause(&p, true);
        let mut wanted = stands(&*reader, &[&q]);
        wanted.push((p.clone(), offsets[back]));
        update(&mut *reader, &wanted);
        assert_eq!(reader.position(&p), Some(offsets[back]));
        let again = texts(drain(&*log, &mut *reader, &[&p, &q]));
        assert_eq!(
            again,
            ["a", "b", "c"][back..],
            "its pause is over, and q is where it was"
        );
    }
    reader.update(&[]).expect("nothing assigned");
    assert_eq!((reader.position(&p), reader.position(&q)), (None, None));
    append(&*log, &p, &["d"]);
    assert!(reader.poll(1 << 20, LOOK).expect("readable").is_empty());
}

/// The assignment continues.
pub fn an_update_that_is_refused_changes_nothing(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    let p = at("t", 0);
    append(&*log, &p, &["a"]);
    let mut reader = log.reader(1 << 20).expect("a reader");
    update(&mut *reader, &[(p.clone(), 0)]);
    assert_eq!(texts(drain(&*log, &mut *reader, &[&p])), ["a"]);
    let mut wanted = stands(&*reader, &[&p]);
    wanted.push((at("u", 0), 0));
    let mut refused = None;
    eventually("a refusal", || {
        let error = reader.update(&wanted).expect_err("no such partition");
        let is_known = error.kind() != ErrorKind::Unavailable;
        refused = Some(error);
        is_known
    });
    assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::Invalid));
    append(&*log, &p, &["b"]);
    assert_eq!(texts(drain(&*log, &mut *reader, &[&p])), ["b"]);
}

/// Positions belong to a topic, not to a name: a reader whose topic is deleted and recreated is told,
/// even if the new one has as many records.
pub fn a_topic_made_anew_under_its_reader_is_an_error(factory: Factory<'_>) {
    let log = start_with(factory, "t", 1);
    let p = at("t", 0);
    for value in ["a", "b"] {
        append(&*log, &p, &[value]);
    }
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(p.clone(), 0)]);
    assert_eq!(texts(drain(&*log, &mut *reader, &[&p])), ["a", "b"]);
    log.delete_topics(&["t".to_owned()]).expect("deleted");
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let appending = Arc::clone(&log);
    for value in ["c", "d", "e", "f"] {
        append(&*appending, &p, &[value]);
    }
    let mut error = None;
    eventually("an error", || {
        error = reader.poll(1 << 20, LOOK).err();
        error.is_some()
    });
    let error = error.expect("an error");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.message().contains("topic t "), "{error}");
    // A reader that starts again reads what is there.
    let values: Vec<String> = read(&*log, &p, 0)
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(values, ["c", "d", "e", "f"]);
}

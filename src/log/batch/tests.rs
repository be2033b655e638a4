use super::*;
use crate::base::Header;

fn sample() -> Batch {
    let mut builder = BatchBuilder::default();
    let header = Header {
        key: "h".into(),
        value: None,
    };
    builder.push(Some(b"k"), Some(b"value"), 100, &[]);
    builder.push(None, Some(b""), 90, &[header]);
    builder.push(Some(b""), None, i64::MAX, &[]);
    builder.seal().expect("three records").stamp(7)
}

#[test]
fn records_come_back_as_they_were_pushed() {
    let batch = Batch::from_bytes(sample().as_bytes().to_vec()).expect("intact");
    assert_eq!(
        (
            batch.record_count(),
            batch.append_time_ms(),
            batch.max_timestamp_ms()
        ),
        (3, 7, i64::MAX)
    );
    let mut cursor = batch.cursor(40);
    let first = cursor.next_record().expect("intact").expect("first");
    assert_eq!(
        (first.offset, first.timestamp_ms, first.key, first.value),
        (40, 100, Some(&b"k"[..]), Some(&b"value"[..]))
    );
    let second = cursor.next_record().expect("intact").expect("second");
    assert_eq!(
        (second.offset, second.timestamp_ms, second.key, second.value),
        (41, 90, None, Some(&b""[..]))
    );
    assert_eq!(
        second.headers().expect("intact").as_slice(),
        [Header {
            key: "h".into(),
            value: None
        }]
    );
    let third = cursor.next_record().expect("intact").expect("third");
    assert_eq!(
        (third.timestamp_ms, third.key, third.value),
        (i64::MAX, Some(&b""[..]), None)
    );
    assert!(cursor.next_record().expect("intact").is_none());
}

#[test]
fn every_flipped_bit_is_noticed() {
    let good = sample().as_bytes().to_vec();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(Batch::from_bytes(bad).is_err(), "byte {at}");
    }
}

#[test]
fn truncating_to_a_mark_forgets_what_came_after() {
    let mut builder = BatchBuilder::default();
    let empty = builder.mark();
    builder.push(Some(b"a"), None, 1, &[]);
    let one = builder.mark();
    builder.push(Some(b"b"), None, 9, &[]);
    builder.truncate(one);
    assert_eq!(builder.len(), 1);
    builder.truncate(empty);
    assert!(builder.is_empty() && builder.seal().is_none());
    builder.push(Some(b"c"), None, 3, &[]);
    let batch = builder.seal().expect("one record");
    assert_eq!(
        (
            batch.record_count(),
            batch.max_timestamp_ms(),
            batch.last_offset_delta()
        ),
        (1, 3, 0)
    );
}

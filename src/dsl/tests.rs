//! A stream operator under test: records in, records out, through the driver.

use super::{Stream, StreamBuilder};
use crate::base::Record;
use crate::codec::OwnCodec;
use crate::testing::Driver;

/// What comes out of an operator, one record after the other, at the times 0, 1, 2 ...
pub(super) fn run<K: OwnCodec, V: OwnCodec>(
    records: &[(&str, i64)],
    operator: impl FnOnce(Stream<String, i64>) -> Stream<K, V>,
) -> Vec<(K, V)> {
    let builder = StreamBuilder::new();
    operator(builder.stream("in")).to("out");
    let mut driver = Driver::new(builder.build().expect("builds")).expect("starts");
    let input = driver.input_topic::<String, i64>("in");
    for (timestamp_ms, record) in (0..).zip(records) {
        let (key, value) = owned(*record);
        let record = Record::new(key, value, timestamp_ms);
        input.pipe(&mut driver, record).expect("is processed");
    }
    let output = driver.output_topic::<K, V>("out");
    let found = output.read(&mut driver).expect("decodes");
    found.into_iter().map(|r| (r.key, r.value)).collect()
}

/// A key and a value as records have them.
pub(super) fn owned((key, value): (&str, i64)) -> (String, i64) {
    (key.to_owned(), value)
}

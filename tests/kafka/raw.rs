//! Records that no client would write, sent directly in the protocol.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use marea::base::TopicPartition;
use marea::log::TopicSpec;

use crate::broker::Broker;
use crate::patience::assign;

pub const CASES: &[(&str, fn(&Broker))] = &[(
    "a_header_whose_name_is_not_utf8_is_read",
    a_header_whose_name_is_not_utf8_is_read,
)];

/// It is read as the Java client reads it, and so are the records around it.
fn a_header_whose_name_is_not_utf8_is_read(broker: &Broker) {
    let log = broker.fresh_log();
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let names: [&[u8]; 3] = [b"before", b"na\xffme", b"after"];
    for name in names {
        produce(&broker.address(0), "t", name);
    }
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(TopicPartition::new("t", 0), 0)]);
    let mut found = Vec::new();
    for _ in 0..200 {
        let fetched = reader.poll(1_000, Duration::from_millis(100));
        for fetched in fetched.expect("read") {
            let mut cursor = fetched.batch.cursor(0);
            while let Some(record) = cursor.next_record().expect("whole") {
                let headers = record.headers().expect("whole");
                let header = headers.as_slice().first().expect("a header").clone();
                assert_eq!(header.value.as_deref(), Some(&b"v"[..]));
                found.push(header.key);
            }
        }
        if found.len() == names.len() {
            break;
        }
    }
    assert_eq!(found, ["before", "na\u{fffd}me", "after"]);
}

/// Writes one record with one header (Produce, version 3).
fn produce(address: &str, topic: &str, header: &[u8]) {
    // Each length fits into one byte of the zigzag code.
    let length = |bytes: &[u8]| (bytes.len() * 2) as u8;
    let mut record = vec![0, 0, 0, 1, length(b"x"), b'x', 2, length(header)];
    record.extend(header);
    record.extend([length(b"v"), b'v']);
    record.insert(0, length(&record));

    let mut checked = [0; 6].to_vec(); // attributes, last offset delta
    checked.extend(1_i64.to_be_bytes());
    checked.extend(1_i64.to_be_bytes());
    checked.extend([0xff; 8 + 2 + 4]); // no producer, epoch, sequence
    checked.extend(1_i32.to_be_bytes());
    checked.extend(&record);

    let mut batch = (-1_i32).to_be_bytes().to_vec(); // leader's epoch
    batch.push(2);
    batch.extend(crc32c::crc32c(&checked).to_be_bytes());
    batch.extend(&checked);

    let mut request = vec![0, 0, 0, 3, 0, 0, 0, 1, 0xff, 0xff]; // key, version, number, no name
    request.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0x27, 0x10]); // no transaction, all acks, 10 s
    request.extend(1_i32.to_be_bytes());
    request.extend((topic.len() as i16).to_be_bytes());
    request.extend(topic.as_bytes());
    request.extend([0, 0, 0, 1, 0, 0, 0, 0]); // one partition: 0
    request.extend((batch.len() as i32 + 12).to_be_bytes());
    request.extend(0_i64.to_be_bytes());
    request.extend((batch.len() as i32).to_be_bytes());
    request.extend(&batch);

    let mut stream = TcpStream::connect(address).expect("connected");
    let size = (request.len() as i32).to_be_bytes();
    stream.write_all(&size).expect("sent");
    stream.write_all(&request).expect("sent");
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("an answer");
    let mut answer = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).expect("an answer");
    // Number, one topic, its name, one partition, its number; then the code.
    let code = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[code..code + 2], [0, 0], "{answer:?}");
}

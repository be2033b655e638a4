//! What travels has the bytes that Kafka Streams writes.

use super::hash::hash;
use super::layout::{
    Instruction, Response, ResponseCodec, Subscription, SubscriptionCodec, begin_combined, behind,
};
use crate::codec::{Codec, Encoded};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<T>(codec: &impl Codec<T>, value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    let encoded = codec.encode(value, &mut out).expect("encoded");
    assert_eq!(encoded, Encoded::Bytes);
    out
}

#[test]
fn subscriptions_are_laid_out_as_kafka_streams_does_and_come_back() {
    let subscription = Subscription {
        hash: Some(*b"0123456789abcdef"),
        instruction: Instruction::AnswerIfFound,
        key: b"pk".to_vec(),
        partition: Some(258),
    };
    let with_hash = bytes(&SubscriptionCodec, &subscription);
    assert_eq!(with_hash, b"\x01\x030123456789abcdefpk\0\0\x01\x02");
    let without_hash = Subscription {
        hash: None,
        instruction: Instruction::EndAndAnswer,
        ..subscription.clone()
    };
    let short = bytes(&SubscriptionCodec, &without_hash);
    assert_eq!(short, b"\x81\x01pk\0\0\x01\x02");
    let version_0 = Subscription {
        partition: None,
        ..subscription.clone()
    };
    let old = bytes(&SubscriptionCodec, &version_0);
    assert_eq!(old, b"\0\x030123456789abcdefpk");
    for (bytes, meant) in [
        (with_hash, subscription),
        (short, without_hash),
        (old, version_0),
    ] {
        let read = SubscriptionCodec.decode(Some(&bytes)).expect("own bytes");
        assert_eq!(read, meant);
    }
    for damaged in [
        &b""[..],
        b"\x01",
        b"\x01\x03short",
        b"\x82\x01pk",
        b"\x80\x04pk",
        b"\x81\x01pk",
    ] {
        assert!(
            SubscriptionCodec.decode(Some(damaged)).is_err(),
            "{damaged:?}"
        );
    }
}

#[test]
fn responses_are_laid_out_as_kafka_streams_does_and_an_empty_row_is_one() {
    let own = Some(b"0123456789abcdef");
    let response = |hash: Option<&[u8; 16]>, row: Option<&[u8]>| Response {
        hash: hash.copied(),
        row: row.map(<[u8]>::to_vec),
        not_found: false,
        partition: None,
    };
    let not_found = Response {
        not_found: true,
        ..response(own, None)
    };
    for (meant, laid_out) in [
        (response(own, Some(b"row")), &b"\x000123456789abcdefrow"[..]),
        (response(own, None), b"\x000123456789abcdef"),
        (response(None, Some(b"row")), b"\x80row"),
        (response(None, None), b"\x80"),
        (response(own, Some(b"")), b"\x010123456789abcdef"),
        (response(None, Some(b"")), b"\x81"),
        (not_found, b"\x020123456789abcdef"),
    ] {
        assert_eq!(bytes(&ResponseCodec, &meant), laid_out);
        let read = ResponseCodec.decode(Some(laid_out)).expect("own bytes");
        assert_eq!(read, meant);
    }
    for damaged in [&b""[..], b"\0short", b"\x83row", b"\x82row", b"\x81row"] {
        assert!(ResponseCodec.decode(Some(damaged)).is_err(), "{damaged:?}");
    }
}

#[test]
fn combined_keys_of_one_foreign_key_stand_together() {
    let mut prefix = b"left over".to_vec();
    begin_combined(b"ab", &mut prefix).expect("short");
    assert_eq!(prefix, b"\0\0\0\x02ab");
    assert_eq!(behind(&prefix).expect("a key"), b"\0\0\0\x02ac");
    assert_eq!(behind(b"\0\x01\xff\xff").expect("a key"), b"\0\x02");
    assert_eq!(behind(b"\xff\xff"), None);
}

#[test]
fn hashes_are_those_of_the_peer() {
    // What Kafka 4.3.0 computes of these texts.
    for (text, expected) in [
        ("", "9d2764a018e329428c3cf3b035938518"),
        ("p:x", "34dab63cd577d4ce850138aaf18771da"),
        ("12345678", "ddec8f9026074d665e35523e4a34fe8c"),
        ("123456789abcdef", "5759af932b9b81f25bd87832f2de2112"),
        ("0123456789abcdef", "1a6e941ec6a76967d7d82808f505d6b1"),
        (
            "The quick brown fox jumps over the lazy dog",
            "e74c5921af0f99c8b7f85ec81df06726",
        ),
        ("héllo wörld, bücher", "4e52b67ac1b2d78726c70eac4b6a3268"),
    ] {
        assert_eq!(hex(&hash(text.as_bytes())), expected, "{text:?}");
    }
}

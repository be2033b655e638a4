//! The law of every codec: what was written is read, appended to whatever stood before.

use std::fmt::Debug;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    ocean: String,
    depth_m: Option<u32>,
    samples: Vec<i64>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Surface,
    Buoy { number: u64 },
}

fn reading() -> impl Strategy<Value = Reading> {
    let kind = prop_oneof![
        Just(Kind::Surface),
        any::<u64>().prop_map(|number| Kind::Buoy { number })
    ];
    (
        any::<String>(),
        any::<Option<u32>>(),
        any::<Vec<i64>>(),
        kind,
    )
        .prop_map(|(ocean, depth_m, samples, kind)| Reading {
            ocean,
            depth_m,
            samples,
            kind,
        })
}

fn keeps_the_law<T: PartialEq + Debug + Clone>(codec: &impl Codec<T>, value: &T) {
    let mut out = b"before".to_vec();
    let encoded = codec.encode(value, &mut out).expect("encodes");
    assert!(out.starts_with(b"before"));
    let bytes = (encoded == Encoded::Bytes).then(|| &out[6..]);
    assert_eq!(bytes.is_none(), codec.is_null(value));
    assert_eq!(&codec.decode(bytes).expect("decodes"), value);

    let mut again = Vec::new();
    codec.encode(&value.clone(), &mut again).expect("encodes");
    assert_eq!(again, &out[6..], "equal values have equal bytes");
}

proptest! {
    #[test]
    fn primitives_keep_the_law(text: String, long: i64, double: f64, bytes: Vec<u8>) {
        keeps_the_law(&Utf8, &text);
        keeps_the_law(&I64, &long);
        keeps_the_law(&F64, &double);
        keeps_the_law(&Bytes, &bytes);
    }

    #[test]
    fn numbers_of_every_width_keep_the_law(a: i16, b: i32, c: u32, d: u64, e: f32, f: bool) {
        keeps_the_law(&I16, &a);
        keeps_the_law(&I32, &b);
        keeps_the_law(&U32, &c);
        keeps_the_law(&U64, &d);
        keeps_the_law(&F32, &e);
        keeps_the_law(&Bool, &f);
        keeps_the_law(&Unit, &());
    }

    #[test]
    fn own_codecs_keep_the_law(text: String, parts: (Option<String>, i64, (u32, bool)), start_ms: i64, end_ms: i64) {
        keeps_the_law(&String::codec(), &text);
        keeps_the_law(&OwnCodec::codec(), &parts);
        keeps_the_law(&OwnCodec::codec(), &Some(text.clone()));
        keeps_the_law(&OwnCodec::codec(), &Windowed { key: text.clone(), start_ms, end_ms });
        keeps_the_law(&OwnCodec::codec(), &Json(vec![Some(text)]));
    }

    #[test]
    fn options_keep_the_law(text: Option<String>, long: Option<i64>) {
        keeps_the_law(&Nullable(Utf8), &text);
        keeps_the_law(&Nullable(I64), &long);
    }

    #[test]
    fn windowed_keys_keep_the_law(key: String, start_ms in 0..i64::MAX / 2, size_ms in 1..86_400_000i64) {
        let value = Windowed { key, start_ms, end_ms: start_ms + size_ms };
        keeps_the_law(&WindowedCodec::new(Utf8, size_ms), &value);
    }

    #[test]
    fn shared_codecs_keep_the_law(text: Option<String>) {
        let shared: SharedCodec<Option<String>> = Arc::new(Nullable(Utf8));
        keeps_the_law(&shared, &text);
    }

    #[test]
    fn json_keeps_the_law(value in reading()) {
        keeps_the_law(&Json::new(), &value);
        keeps_the_law(&Nullable(Json::new()), &Some(value));
    }

    #[test]
    fn windows_are_in_order_of_time(key: String, first: u32, second: u32) {
        let codec = WindowedCodec::new(Utf8, 10);
        let encode = |start: u32| {
            let start_ms = i64::from(start);
            let mut out = Vec::new();
            let value = Windowed { key: key.clone(), start_ms, end_ms: start_ms + 10 };
            codec.encode(&value, &mut out).expect("encodes");
            out
        };
        prop_assert_eq!(encode(first).cmp(&encode(second)), first.cmp(&second));
    }

    #[test]
    fn no_bytes_make_a_codec_panic(bytes: Vec<u8>) {
        let _ = Json::<Reading>::new().decode(Some(&bytes));
        let _ = WindowedCodec::new(I64, 10).decode(Some(&bytes));
        let _ = Utf8.decode(Some(&bytes));
        let _ = SessionWindowedCodec(I64).decode(Some(&bytes));
        let _ = <(Option<String>, i64, (u32, bool))>::codec().decode(Some(&bytes));
    }
}

#[cfg(feature = "bincode")]
proptest! {
    #[test]
    fn bincode_keeps_the_law(value in reading()) {
        keeps_the_law(&Bincode::new(), &value);
        keeps_the_law(&Nullable(Bincode::new()), &Some(value));
    }

    #[test]
    fn no_bytes_make_bincode_panic(bytes: Vec<u8>) {
        let _ = Bincode::<Reading>::new().decode(Some(&bytes));
    }
}

//! Joins of streams that send records without a partner alone, and of a stream with itself.

use marea::dsl::{JoinWindows, Stream, StreamBuilder};

use super::words::*;

/// The topologies of this file.
pub const NAMES: &[&str] = &[
    "join-left",
    "join-left-grace-5",
    "join-left-before-only",
    "join-left-after-only",
    "join-left-asymmetric",
    "join-outer",
    "headers-join",
    "join-outer-grace-5",
    "join-outer-before-only",
    "join-outer-after-only",
    "join-outer-asymmetric",
    "join-three-left-outer",
    "self-join",
    "self-join-optimized",
];

type Texts = Stream<Text, Text>;

/// A side that may be absent.
fn or_null(side: Option<&Text>) -> Text {
    side.cloned().flatten()
}

fn within(difference_ms: u64, grace_ms: u64) -> JoinWindows {
    JoinWindows::of(ms(difference_ms)).grace(ms(grace_ms))
}

fn left_join(left: Texts, right: Texts, windows: JoinWindows, name: &str) -> Texts {
    left.left_join(
        right,
        |_, l, r| plus(l, &or_null(r)),
        windows,
        stream_joined(name),
    )
}

fn outer_join(left: Texts, right: Texts, windows: JoinWindows, name: &str) -> Texts {
    left.outer_join(
        right,
        |_, l, r| plus(&or_null(l), &or_null(r)),
        windows,
        stream_joined(name),
    )
}

fn left(b: &StreamBuilder, windows: JoinWindows) {
    let (left, right) = (
        b.stream_with("left", strings()),
        b.stream_with("right", strings()),
    );
    left_join(left, right, windows, "join").to_with("out", out());
}

fn outer(b: &StreamBuilder, windows: JoinWindows) {
    let (left, right) = (
        b.stream_with("left", strings()),
        b.stream_with("right", strings()),
    );
    outer_join(left, right, windows, "join").to_with("out", out());
}

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    match name {
        "join-left" => left(b, within(10, 0)),
        "join-left-grace-5" => left(b, within(10, 5)),
        "join-left-before-only" => left(b, within(0, 0).before(ms(10))),
        "join-left-after-only" => left(b, within(0, 0).after(ms(10))),
        "join-left-asymmetric" => left(b, within(0, 5).before(ms(12)).after(ms(4))),
        "join-outer" | "headers-join" => outer(b, within(10, 0)),
        "join-outer-grace-5" => outer(b, within(10, 5)),
        "join-outer-before-only" => outer(b, within(0, 0).before(ms(10))),
        "join-outer-after-only" => outer(b, within(0, 0).after(ms(10))),
        "join-outer-asymmetric" => outer(b, within(0, 4).before(ms(3)).after(ms(12))),
        "join-three-left-outer" => {
            let (one, two) = (
                b.stream_with("in1", strings()),
                b.stream_with("in2", strings()),
            );
            let pairs = left_join(one, two, within(10, 5), "join-12");
            let three = b.stream_with("in3", strings());
            outer_join(pairs, three, within(10, 5), "join-123").to_with("out", out());
        }
        // The second is built with optimizations, according to the configuration of its vectors.
        "self-join" | "self-join-optimized" => {
            let input = b.stream_with("in", strings());
            input
                .clone()
                .join(
                    input,
                    |_, l, r| plus(l, r),
                    within(10, 0),
                    stream_joined("join"),
                )
                .to_with("out", out());
        }
        _ => return false,
    }
    true
}

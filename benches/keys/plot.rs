//! Draws the lines of the bench: microseconds per record over the number of keys, and over the ratio of state to
//! memory.

use std::error::Error;
use std::fmt::Write as _;

use serde::Deserialize;

/// The fields of a printed line that are drawn.
#[derive(Debug, Deserialize)]
struct Point {
    keys: f64,
    state_over_memory: f64,
    us_a_record: f64,
}

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 30.0;
/// The y axis, in microseconds.
const Y: (f64, f64) = (0.3, 100.0);

/// The picture. Runs with 256 MiB of memory form the first curve, all others the second, in their order.
pub fn svg(lines: &str) -> Result<String, Box<dyn Error>> {
    let mut by_keys = Vec::new();
    let mut by_state = Vec::new();
    for line in lines.lines().filter(|line| line.starts_with('{')) {
        let point: Point = serde_json::from_str(line)?;
        match line.contains("\"memory_mib\":256,") {
            true => by_keys.push((point.keys, point.us_a_record)),
            false => by_state.push((point.state_over_memory, point.us_a_record)),
        }
    }
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        2.0 * (LEFT + WIDTH) + 30.0,
        TOP + HEIGHT + 40.0
    );
    curve(
        &mut out,
        0.0,
        ("us a record over keys, 256 MiB", (1e4, 1e7)),
        &by_keys,
    )?;
    let title = ("us a record over state / memory, 3 M keys", (0.1, 10.0));
    curve(&mut out, LEFT + WIDTH + 10.0, title, &by_state)?;
    out.push_str("</svg>\n");
    Ok(out)
}

fn curve(
    out: &mut String,
    x0: f64,
    (title, x_range): (&str, (f64, f64)),
    points: &[(f64, f64)],
) -> std::fmt::Result {
    let place = |value: f64, (from, to): (f64, f64)| (value / from).log10() / (to / from).log10();
    let x = |value: f64| x0 + LEFT + WIDTH * place(value, x_range);
    let y = |value: f64| TOP + HEIGHT * (1.0 - place(value, Y));
    writeln!(out, "<text x=\"{}\" y=\"18\">{title}</text>", x0 + LEFT)?;
    for tick in [1.0, 10.0, 100.0] {
        let (at, left, right) = (y(tick), x0 + LEFT, x0 + LEFT + WIDTH);
        writeln!(
            out,
            "<line x1=\"{left}\" x2=\"{right}\" y1=\"{at:.0}\" y2=\"{at:.0}\" stroke=\"#ccc\"/>\
             <text x=\"{}\" y=\"{at:.0}\" text-anchor=\"end\">{tick}</text>",
            left - 6.0
        )?;
    }
    let mut tick = x_range.0;
    while tick <= x_range.1 * 1.01 {
        let (at, bottom) = (x(tick), TOP + HEIGHT);
        let name = match tick >= 1_000.0 {
            true => format!("10^{:.0}", tick.log10()),
            false => format!("{tick}"),
        };
        writeln!(
            out,
            "<line x1=\"{at:.0}\" x2=\"{at:.0}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#ccc\"/>\
             <text x=\"{at:.0}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
            bottom + 16.0
        )?;
        tick *= 10.0;
    }
    let line: Vec<_> = points
        .iter()
        .map(|(at, us)| format!("{:.0},{:.0}", x(*at), y(*us)))
        .collect();
    writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#06c\" stroke-width=\"2\"/>",
        line.join(" ")
    )?;
    for (point, (_, us)) in line.iter().zip(points) {
        let (at, height) = point.split_once(',').unwrap_or_default();
        writeln!(
            out,
            "<circle cx=\"{at}\" cy=\"{height}\" r=\"3\" fill=\"#06c\"/>\
             <text x=\"{at}\" y=\"{height}\" dy=\"-7\" text-anchor=\"middle\">{us:.1}</text>"
        )?;
    }
    Ok(())
}

//! What topologies can do to memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::SystemEnv;
use marea::codec::{Bytes, I64, Nullable, Utf8, WindowedCodec};
use marea::disk::Budget;
use marea::dsl::{
    Consumed, Grouped, JoinWindows, Materialized, Produced, StreamBuilder, StreamJoined,
    Suppressed, TimeWindows,
};
use marea::log::{Log, MemoryLog, OpenOptions, TopicSpec};
use marea::runtime::{Application, Settings};
use marea::topology::Topology;

use super::allocator::most_bytes;
use super::feed::{Row, count, put, size};

/// All cases.
pub const NAMES: [&str; 5] = ["fan_out", "many_keys", "join", "held_rows", "global_rows"];

const PARTITIONS: u32 = 4;
const DEADLINE: Duration = Duration::from_secs(1_200);
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Runs a case and prints what it used.
pub fn run(number_mib: usize, log: &str, case: &str) {
    let place = tempfile::tempdir().expect("a directory");
    let in_memory = log == "memory";
    let log: Arc<dyn Log> = if in_memory {
        Arc::new(MemoryLog::new(SystemEnv::shared()))
    } else {
        let budget = Budget::new(number_mib / 4 * MIB);
        let options = OpenOptions::new(SystemEnv::shared(), budget);
        let url = format!("embedded:{}", place.path().join("log").display());
        marea::log::open(&url, &options).expect("a log")
    };
    let topics = ["left", "right", "out"].map(|name| TopicSpec::new(name, PARTITIONS));
    log.create_topics(&topics).expect("topics");
    let case = Case::of(case, number_mib);
    for (topic, rows) in [("left", case.left), ("right", case.right)] {
        for partition in 0..PARTITIONS {
            put(&*log, topic, partition, rows(case.records, partition));
        }
    }
    let mut running = Application::builder(case.topology, "memory")
        .log(log.clone())
        .state_directory(place.path().join("state"))
        .settings(Settings {
            memory_bytes: number_mib * MIB,
            workers: 2,
            ..Settings::default()
        })
        .start()
        .expect("started");
    let since = Instant::now();
    while count(&*log, "out") < case.outputs {
        let snapshot = running.snapshot();
        assert!(snapshot.error.is_none(), "{:?}", snapshot.error);
        assert!(
            since.elapsed() < DEADLINE,
            "{}: {snapshot:#?}",
            count(&*log, "out")
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(count(&*log, "out"), case.outputs);
    running.close(DEADLINE).expect("closed");
    println!("resident {}", resident_bytes());
    println!("heap {}", most_bytes());
    println!("log {}", if in_memory { size(&*log) } else { 0 });
    println!("record {}", 2 * KIB);
    println!("records {}", running.snapshot().records);
    eprintln!("{:?}", since.elapsed());
}

/// The peak resident memory, in bytes.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<usize>().ok())
        .expect("a size")
        * KIB
}

type Rows = fn(i64, u32) -> Box<dyn Iterator<Item = Row>>;

struct Case {
    topology: Topology,
    /// Per partition.
    records: i64,
    left: Rows,
    right: Rows,
    outputs: i64,
}

fn none(_: i64, _: u32) -> Box<dyn Iterator<Item = Row>> {
    Box::new(std::iter::empty())
}

/// A number for each record, widely scattered.
fn scattered(number: i64) -> u64 {
    (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

impl Case {
    fn of(name: &str, number_mib: usize) -> Self {
        let number_mib = number_mib as i64;
        match name {
            "fan_out" => Self::fan_out(number_mib),
            "many_keys" => Self::many_keys(number_mib),
            "join" => Self::join(number_mib),
            "held_rows" => Self::held_rows(number_mib),
            "global_rows" => Self::global_rows(number_mib),
            other => panic!("no case {other}"),
        }
    }

    /// A record becomes 200 of 1 KiB; in all, three times the memory number.
    fn fan_out(number_mib: i64) -> Self {
        let builder = StreamBuilder::new();
        let text = "x".repeat(KIB);
        builder
            .stream_with("left", Consumed::with(Utf8, I64))
            .flat_map(move |key: String, _| {
                let text = text.clone();
                (0..200).map(move |n| (format!("{key}{n}"), text.clone()))
            })
            .to_with("out", Produced::with(Utf8, Utf8));
        let records = number_mib * 3 * 1_024 / 200 / i64::from(PARTITIONS);
        Self {
            topology: builder.build().expect("a topology"),
            records,
            left: |records, _| {
                Box::new((0..records).map(|n| ("k".to_owned(), n.to_be_bytes().to_vec(), n)))
            },
            right: none,
            outputs: records * i64::from(PARTITIONS) * 200,
        }
    }

    /// Counts by keys that come once or twice, with rows in RocksDB.
    fn many_keys(number_mib: i64) -> Self {
        let builder = StreamBuilder::new();
        builder
            .stream_with("left", Consumed::with(Utf8, I64))
            .group_by_key(Grouped::with("by-key", Utf8, I64))
            .count("counts")
            .to_stream()
            .to_with("out", Produced::with(Utf8, Nullable(I64)));
        let records = number_mib * 1_500;
        Self {
            topology: builder.build().expect("a topology"),
            records,
            left: |records, partition| {
                let key = move |n: i64| {
                    let number = scattered(n) % records as u64;
                    format!("{}-{partition}-{number:012}", "sensor".repeat(10))
                };
                Box::new((0..records).map(move |n| (key(n), 1i64.to_be_bytes().to_vec(), n)))
            },
            right: none,
            outputs: records * i64::from(PARTITIONS),
        }
    }

    /// Joins two streams whose windows hold nearly all of them.
    fn join(number_mib: i64) -> Self {
        let builder = StreamBuilder::new();
        let left = builder.stream_with("left", Consumed::with(Utf8, Bytes));
        let right = builder.stream_with("right", Consumed::with(Utf8, Bytes));
        left.join(
            right,
            |_, one: &Vec<u8>, other: &Vec<u8>| (one.len() + other.len()) as i64,
            JoinWindows::of(Duration::from_secs(3_600)),
            StreamJoined::with("joined", Utf8, Bytes, Bytes),
        )
        .to_with("out", Produced::with(Utf8, I64));
        let rows: Rows = |records, partition| {
            let row = move |n| (format!("{partition}-{n}"), vec![b'x'; 400], n);
            Box::new((0..records).map(row))
        };
        let records = number_mib * 350;
        Self {
            topology: builder.build().expect("a topology"),
            records,
            left: rows,
            right: rows,
            outputs: records * i64::from(PARTITIONS),
        }
    }

    /// Joins with a global table of more than twice the memory number.
    fn global_rows(number_mib: i64) -> Self {
        let builder = StreamBuilder::new();
        let rows = builder.global_table::<String, Vec<u8>>("right", "rows");
        builder
            .stream::<String, i64>("left")
            .join_global(
                &rows,
                |key, _| key.clone(),
                |_, n, row: Vec<u8>| n + row.len() as i64,
            )
            .to("out");
        let records = number_mib * 1_500;
        Self {
            topology: builder.build().expect("a topology"),
            records,
            left: |records, partition| {
                // Of another partition, in no order.
                let partition = (partition + 1) % PARTITIONS;
                let key = move |n: i64| format!("{partition}-{}", scattered(n) % records as u64);
                let lookups = 0..records / 4;
                Box::new(lookups.map(move |n| (key(n), n.to_be_bytes().to_vec(), n)))
            },
            right: |records, partition| {
                let row = move |n| (format!("{partition}-{n}"), vec![b'x'; 400], n);
                Box::new((0..records).map(row))
            },
            outputs: records / 4 * i64::from(PARTITIONS),
        }
    }

    /// Rows that are held for long, and sent window by window.
    fn held_rows(number_mib: i64) -> Self {
        let builder = StreamBuilder::new();
        let windowed = WindowedCodec::new(Utf8, 1_000);
        builder
            .stream_with("left", Consumed::with(Utf8, Bytes))
            .group_by_key(Grouped::with("by-key", Utf8, Bytes))
            .windowed_by(TimeWindows::of(Duration::from_secs(1)).grace(Duration::from_secs(60)))
            .reduce(|_, new| new, Materialized::with("last", Bytes))
            .suppress(Suppressed::until_window_closes_with("held", Bytes))
            .to_stream()
            .present()
            .to_with("out", Produced::with(windowed, Bytes));
        // Everything except the last 61 s of the two minutes is sent.
        let records = number_mib * 700;
        Self {
            topology: builder.build().expect("a topology"),
            records,
            left: |records, partition| {
                let row = move |n| {
                    let key = format!("{partition}-{n}");
                    (key, vec![b'x'; 200], n * 120_000 / records)
                };
                Box::new((0..records).map(row))
            },
            right: none,
            outputs: (0..records)
                .filter(|n| {
                    (n * 120_000 / records) / 1_000 * 1_000 + 61_000
                        <= (records - 1) * 120_000 / records
                })
                .count() as i64
                * i64::from(PARTITIONS),
        }
    }
}

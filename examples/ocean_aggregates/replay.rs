//! `--replay`: state is nothing but what the changelogs say.

use marea::base::{Error, Result};
use marea::runtime::StoreSum;

use crate::arguments::Arguments;
use crate::run::Setting;

/// Sums up the state, rebuilds it from its changelogs, sums it up again and compares.
pub fn replay(arguments: &Arguments) -> Result<()> {
    let setting = Setting::open(arguments)?;
    println!("replay of {}", setting.directory.display());
    let replay = setting
        .application(arguments)
        .replay(|before| print("the state as it stands", before))?;
    print("rebuilt from the changelogs", &replay.after);
    let seconds = replay.elapsed.as_secs_f64();
    println!(
        "{} changelog records in {seconds:.3} s: {:.0} records/s",
        replay.records,
        replay.records as f64 / seconds.max(1e-9)
    );
    if replay.is_equal() {
        println!(
            "equal: {} stores, {} rows",
            replay.after.len(),
            rows(&replay.after)
        );
        return Ok(());
    }
    let differ = replay.before.iter().zip(&replay.after);
    for (before, after) in differ.filter(|(before, after)| before != after) {
        println!("DIFFERENT: {} {}", before.task, before.store);
        println!("    was {before:?}");
        println!("    is  {after:?}");
    }
    Err(Error::corrupt(
        "the rebuilt state differs from the state as it stood; the changelogs or the state were changed",
    ))
}

fn rows(sums: &[StoreSum]) -> u64 {
    sums.iter().map(|sum| sum.rows).sum()
}

fn print(title: &str, sums: &[StoreSum]) {
    println!("{title}:");
    for sum in sums {
        let StoreSum {
            task,
            store,
            rows,
            checksum,
        } = sum;
        println!(
            "    {:<18} {store:<18} {rows:>8} rows  checksum {checksum:08x}",
            task.to_string()
        );
    }
}

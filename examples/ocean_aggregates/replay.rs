//! `--replay`: shows that the state follows from the changelogs.

use std::io::{Write, stdout};

use marea::base::{Error, Result};
use marea::runtime::StoreSum;

use crate::arguments::Arguments;
use crate::run::Setting;
use crate::view::written;

/// Computes sums over the state, rebuilds it from its changelogs, computes the sums again and compares.
pub fn replay(arguments: &Arguments) -> Result<()> {
    let setting = Setting::open(arguments)?;
    say(&format!("replay of {}", setting.directory.display()))?;
    let mut printed = Ok(());
    let replay = setting
        .application(arguments)
        .replay(|before| printed = print("the current state", before))?;
    printed?;
    print("rebuilt from the changelogs", &replay.after)?;
    let seconds = replay.elapsed.as_secs_f64();
    say(&format!(
        "{} changelog records in {seconds:.3} s: {:.0} records/s",
        replay.records,
        replay.records as f64 / seconds.max(1e-9)
    ))?;
    if replay.is_equal() {
        let rows: u64 = replay.after.iter().map(|sum| sum.rows).sum();
        return say(&format!(
            "equal: {} stores, {rows} rows",
            replay.after.len()
        ));
    }
    let differ = replay.before.iter().zip(&replay.after);
    for (before, after) in differ.filter(|(before, after)| before != after) {
        say(&format!("DIFFERENT: {} {}", before.task, before.store))?;
        say(&format!("    was {}", told(before)))?;
        say(&format!("    is  {}", told(after)))?;
    }
    Err(Error::corrupt(
        "the rebuilt state differs from the previous state; the changelogs or the state were changed",
    ))
}

fn print(title: &str, sums: &[StoreSum]) -> Result<()> {
    say(&format!("{title}:"))?;
    for sum in sums {
        let (task, store) = (sum.task.to_string(), &sum.store);
        say(&format!("    {task:<24} {store:<24} {}", told(sum)))?;
    }
    Ok(())
}

fn told(sum: &StoreSum) -> String {
    format!("{:>8} rows  checksum {:08x}", sum.rows, sum.checksum)
}

fn say(line: &str) -> Result<()> {
    written(writeln!(stdout(), "{line}"))
}

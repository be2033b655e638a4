//! `--repair`: makes a log that opens from what is left of a damaged one.

use std::io::{Write, stdout};

use marea::base::{Error, Result, SystemEnv};
use marea::log::EmbeddedLog;

use crate::arguments::Arguments;

/// Repairs the log in the data directory and reports what was lost.
pub fn repair(arguments: &Arguments) -> Result<()> {
    let path = arguments.data_dir().join("log");
    let done = EmbeddedLog::repair(&path, &*SystemEnv::shared())?;
    let said = writeln!(stdout(), "{}: {done}", path.display());
    said.map_err(|cause| Error::invalid("writing to standard output").with_source(cause))
}

//! Sorted rows as a separate table file: without memtable and flush, at a fraction of the cost.

use rocksdb::{IngestExternalFileOptions, SstFileWriter};

use super::{Column, Database};
use crate::base::Result;

/// The file until the database has ingested it. RocksDB ignores files with such names; the next one of
/// the same name replaces one left by a crash.
const FILE: &str = "ingested.rows";

impl Database {
    /// Makes rows the newest of a column: keys in order, each once, `None` to remove it. They are on disk
    /// when the call returns, whether or not earlier writes are. One call at a time.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub fn ingest<'a>(
        &self,
        column: Column,
        rows: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<()> {
        self.check_not_failed()?;
        let path = self.path().join(FILE);
        let written = || -> Result<(), rocksdb::Error> {
            let mut file = SstFileWriter::create(&self.0.column_options);
            file.open(&path)?;
            for (key, row) in rows {
                match row {
                    Some(row) => file.put(key, row)?,
                    None => file.delete(key)?,
                }
            }
            file.finish()?;
            let mut options = IngestExternalFileOptions::default();
            options.set_move_files(true);
            self.with_column(column, |handle| {
                let paths = vec![&path];
                self.0
                    .rocks
                    .ingest_external_file_cf_opts(handle, &options, paths)
            })
        };
        written().map_err(|cause| self.fail("adding rows to", cause))
    }
}

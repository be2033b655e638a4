//! Opening a directory: its columns, and RocksDB's settings.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{OnceLock, RwLock};

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, DEFAULT_COLUMN_FAMILY_NAME, DataBlockIndexType, LogLevel, ReadOptions,
};

use super::Budget;
use super::database::{Database, Inner};
use super::error::from_rocksdb;
use super::files::FilesOfADatabase;
use super::look::Look;
use super::passing::Passing;
use super::place::create_directories;
use crate::base::Result;

/// How to open a [`Database`].
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The directory; it is created if it does not exist.
    pub path: PathBuf,
    /// The required columns; they get the numbers 0, 1, ... in this order. Others that exist on disk
    /// follow.
    pub columns: Vec<String>,
    /// The memory budget.
    pub budget: &'a Budget,
    /// Whether writes go to a write-ahead log first. Without one, unflushed writes are lost with the
    /// process, and the content on disk is always a prefix of the writes over all columns.
    pub write_ahead: bool,
}

/// What may be missing from the write-ahead log when the directory is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Only an incomplete last record, as left by a crash.
    Whole,
    /// Its tail: the first damage, and everything after it. But nothing that RocksDB knows to be synced.
    PointInTime,
    /// Its tail, synced or not, including whole files: to save what is left.
    Salvage,
    /// Anything anywhere, as long as something can be read. The result is a state that never existed.
    Fragments,
}

impl Database {
    /// Opens the directory, creating it and any missing columns.
    ///
    /// # Errors
    /// `Unavailable` while another process has it open; `Invalid` if it is not writable, another program
    /// made it, or this process may not have enough files open; `Full` if the disk is; `Corrupt` if files
    /// are damaged or missing. All name the path.
    pub fn open(options: &Options<'_>) -> Result<Self> {
        Self::open_recovering(options, Recovery::Whole)
    }

    /// [`Database::open`], but gives up as much of a write-ahead log as `recovery` says.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_recovering(options: &Options<'_>, recovery: Recovery) -> Result<Self> {
        let path = &options.path;
        create_directories(path)?;
        let look = Look::at(path)?;
        look.check_not_a_rest(path)?;
        // The default column exists as well.
        let columns = options.columns.len() + 1;
        let files = FilesOfADatabase::take(path, columns, options.budget.databases())?;
        let chained = look.write_ahead || !look.current;
        let database_options = database_options(options, &files, recovery, chained)
            .map_err(|cause| from_rocksdb(path, "opening", cause))?;
        let mut names = options.columns.clone();
        // RocksDB opens only if all columns are named; a directory without CURRENT has none yet.
        if look.current {
            let existing = DB::list_cf(&database_options, path)
                .map_err(|cause| from_rocksdb(path, "reading the columns of", cause))?;
            let may_lose_files = matches!(recovery, Recovery::Salvage | Recovery::Fragments);
            let needs_write_ahead = options.write_ahead && !may_lose_files;
            look.check_columns(path, &existing, &options.columns, needs_write_ahead)?;
            for name in existing {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        if !names.iter().any(|name| name == DEFAULT_COLUMN_FAMILY_NAME) {
            names.push(DEFAULT_COLUMN_FAMILY_NAME.to_owned());
        }
        let (columns, share_bytes) = options.budget.open_columns(names.len());
        let column_options = column_options(options, share_bytes);
        let descriptors = names
            .iter()
            .map(|name| ColumnFamilyDescriptor::new(name, column_options.clone()));
        let rocks =
            rocksdb::DBWithThreadMode::open_cf_descriptors(&database_options, path, descriptors)
                .map_err(|cause| from_rocksdb(path, "opening", cause))?;
        Ok(Self::from_inner(Inner {
            columns: RwLock::default(),
            names,
            path: path.clone(),
            write_ahead: options.write_ahead,
            failed: OnceLock::new(),
            damaged: AtomicBool::new(false),
            read_options: ReadOptions::default(),
            passing: Passing::default(),
            _columns: columns,
            rocks: Box::new(rocks),
            column_options,
            _files: files,
        }))
    }
}

/// `chained`: whether there are files of the write-ahead log, each of which identifies the one before.
fn database_options(
    options: &Options<'_>,
    files: &FilesOfADatabase,
    recovery: Recovery,
    chained: bool,
) -> Result<rocksdb::Options, rocksdb::Error> {
    let mut database = rocksdb::Options::default();
    if options.write_ahead && chained && recovery != Recovery::Fragments {
        // If a file ends early, but at the end of a record, the next one reveals it. The binding has no
        // function for this setting.
        database = database.get_options_from_string("track_and_verify_wals=true")?;
    }
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    database.set_write_buffer_manager(&options.budget.shares.write_buffers);
    database.set_max_background_jobs(2);
    database.set_max_open_files(files.max_open_files);
    // Each part of the table cache holds at least one: with the default of 64 parts, a small share would
    // be exceeded.
    database.set_table_cache_num_shard_bits(2);
    database.set_keep_log_file_num(2);
    database.set_log_level(LogLevel::Warn);
    database.set_bytes_per_sync(1 << 20);
    // A task has few files: the default of 4 MiB would be the largest of them.
    database.set_manifest_preallocation_size(64 << 10);
    // Either would let a flush persist writes of one column without the earlier ones of another.
    database.set_enable_pipelined_write(false);
    database.set_unordered_write(false);
    if options.write_ahead {
        database.set_max_total_wal_size(256 << 20);
        database.set_wal_bytes_per_sync(1 << 20);
        // The default drops all commits after the first damaged one, and does not report it.
        database.set_wal_recovery_mode(match recovery {
            Recovery::Whole => DBRecoveryMode::TolerateCorruptedTailRecords,
            Recovery::PointInTime | Recovery::Salvage => DBRecoveryMode::PointInTime,
            Recovery::Fragments => DBRecoveryMode::SkipAnyCorruptedRecord,
        });
        let synced_is_there = matches!(recovery, Recovery::Whole | Recovery::PointInTime);
        database.set_track_and_verify_wals_in_manifest(synced_is_there);
    }
    // Files contain all columns as of one moment. This also matters with a write-ahead log: when its tail
    // is lost, no column is ahead of the others.
    database.set_atomic_flush(true);
    Ok(database)
}

fn column_options(options: &Options<'_>, share_bytes: usize) -> rocksdb::Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&options.budget.shares.cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_format_version(5);
    if !options.write_ahead {
        // Rows are small and many: the filter of a whole file has megabytes, and a cache that does not
        // hold it reads it again for every key (docs/adr/0013).
        blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        blocks.set_partition_filters(true);
        blocks.set_metadata_block_size(4 << 10);
        // If there are many keys, everything that is read and unpacked besides the row itself is wasted.
        blocks.set_block_size(2 << 10);
        blocks.set_pin_top_level_index_and_filter(true);
        blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    }
    let mut column = rocksdb::Options::default();
    column.set_block_based_table_factory(&blocks);
    column.set_compression_type(DBCompressionType::Lz4);
    // One log has few columns and large values; tasks have many columns and small values.
    let write_buffer = if options.write_ahead {
        (options.budget.bytes() / 8).clamp(4 << 20, 32 << 20)
    } else {
        share_bytes.clamp(64 << 10, 16 << 20)
    };
    column.set_write_buffer_size(write_buffer);
    if !options.write_ahead {
        // Most reads are of keys that are in no write buffer, and finding that out from its list costs
        // more than everything else together.
        column.set_memtable_whole_key_filtering(true);
        column.set_memtable_prefix_bloom_ratio(0.02);
    }
    // The budget counts whole arena blocks, including the filters above, which are part of the write
    // buffer: at the default of 1 MiB, the hundreds of columns of a few dozen tasks would fill it while
    // empty, and every write would flush (docs/adr/0003).
    column.set_arena_block_size((write_buffer / 16).clamp(4 << 10, 16 << 10));
    column.set_max_write_buffer_number(3);
    column.set_level_compaction_dynamic_level_bytes(true);
    column
}

/// Makes a directory whose file list or tables are missing or damaged openable, using what its files
/// contain. Changes the directory: for use on a copy.
///
/// # Errors
/// `Corrupt` if nothing can be recovered; else as [`Database::open`].
pub(crate) fn rebuild(path: &Path, budget: &Budget) -> Result<()> {
    let options = Options {
        path: path.to_owned(),
        columns: Vec::new(),
        budget,
        write_ahead: true,
    };
    let column = column_options(&options, SMALLEST_WRITE_BUFFER);
    DB::repair(&column, path).map_err(|cause| from_rocksdb(path, "rebuilding", cause))
}

const SMALLEST_WRITE_BUFFER: usize = 4 << 20;

//! Lines of a file, gzipped or not, starting at any line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use marea::base::{Error, ErrorKind, Result};
use marea::log::CommittedOffset;

use crate::feed::{Next, Source};

/// Whether a file is gzipped is determined by these bytes, not by its name.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A file of lines.
///
/// Its position is `path|checksum|lines`: the checksum is the CRC-32C of the lines returned so far, so
/// that a file is recognised by what was read of it, even if the rest was missing before and is there
/// now.
pub struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    /// Bytes of the file that have been read.
    read: Arc<AtomicU64>,
    size: u64,
    lines: u64,
    checksum: u32,
}

impl Lines {
    /// Opens the file after the lines that `committed` says were fed, or at its beginning.
    ///
    /// # Errors
    /// `Invalid` if the file cannot be read, or is not the one that `committed` refers to.
    pub fn open(path: &Path, committed: Option<&CommittedOffset>) -> Result<Self> {
        let fail = |cause: io::Error| {
            let cure = match cause.kind() {
                io::ErrorKind::NotFound => "there is no such file; check --input",
                io::ErrorKind::IsADirectory => "it is a directory; name a file with --input",
                _ => "it cannot be read; check --input",
            };
            Error::invalid(format!("{}: {cure}", path.display())).with_source(cause)
        };
        let absolute = path.canonicalize().map_err(fail)?;
        let file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if metadata.is_dir() {
            return Err(fail(io::ErrorKind::IsADirectory.into()));
        }
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            file,
            read: Arc::clone(&read),
        };
        let mut plain = BufReader::with_capacity(64 << 10, counted);
        let zipped = plain.fill_buf().map_err(fail)?.starts_with(&GZIP_MAGIC);
        let reader: Box<dyn BufRead + Send> = if zipped {
            Box::new(BufReader::new(MultiGzDecoder::new(plain)))
        } else {
            Box::new(plain)
        };
        let mut lines = Self {
            path: absolute,
            reader,
            read,
            size: metadata.len(),
            lines: 0,
            checksum: 0,
        };
        if let Some(committed) = committed {
            lines.skip(committed)?;
        }
        Ok(lines)
    }

    /// Number of lines returned, including skipped ones.
    pub fn count(&self) -> u64 {
        self.lines
    }

    /// Reads what was fed before, and checks whether it is the same.
    fn skip(&mut self, committed: &CommittedOffset) -> Result<()> {
        let another = |found: &str| {
            Error::invalid(format!(
                "{} is not what this data directory was fed with: {found}; continue with the same input, \
                 or choose another --data-dir",
                self.path.display()
            ))
        };
        let mut fields = committed.metadata.rsplitn(3, '|').skip(1);
        let checksum = fields.next().unwrap_or_default();
        let path = fields.next().unwrap_or_default();
        if path.is_empty() || path == "generator" || path.starts_with("generator|") {
            return Err(another("those were generated readings"));
        }
        if Path::new(path) != self.path {
            return Err(another(&format!("that was {path}")));
        }
        let error = another("its content has changed");
        let mut line = Vec::new();
        while (self.lines as i64) < committed.offset {
            match self.next(&mut line, 0) {
                Ok(Next::End) => return Err(error),
                Ok(_) => {}
                Err(cause) => return Err(cause),
            }
        }
        if format!("{:08x}", self.checksum) == checksum {
            Ok(())
        } else {
            Err(error)
        }
    }

    fn broken(&self, cause: io::Error) -> Error {
        let message = format!(
            "{}: the file is truncated or damaged after line {}; all lines up to there have been fed: \
             repair the file and run the same command again, or with another --data-dir if those lines were \
             damaged too",
            self.path.display(),
            self.lines
        );
        Error::new(ErrorKind::Corrupt, message).with_source(cause)
    }
}

impl Source for Lines {
    fn next(&mut self, line: &mut Vec<u8>, limit: usize) -> Result<Next> {
        line.clear();
        let (mut bytes, mut checksum) = (0u64, self.checksum);
        let complete = loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(self.broken(cause)),
            };
            if available.is_empty() {
                break bytes > 0;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let content = &available[..end.unwrap_or(available.len())];
            let room = limit.saturating_sub(line.len()).min(content.len());
            line.extend_from_slice(&content[..room]);
            checksum = crc32c::crc32c_append(checksum, content);
            bytes += content.len() as u64;
            let used = content.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                break true;
            }
        };
        if !complete {
            return Ok(Next::End);
        }
        // A last line without a line ending counts like any other.
        self.checksum = crc32c::crc32c_append(checksum, b"\n");
        self.lines += 1;
        if bytes > limit as u64 {
            Ok(Next::Oversized(bytes))
        } else {
            Ok(Next::Line)
        }
    }

    fn position(&self) -> CommittedOffset {
        CommittedOffset {
            offset: self.lines as i64,
            metadata: format!(
                "{}|{:08x}|{}",
                self.path.display(),
                self.checksum,
                self.lines
            ),
        }
    }

    fn done(&self) -> f64 {
        match self.size {
            0 => 1.0,
            size => (self.read.load(Ordering::Relaxed) as f64 / size as f64).min(1.0),
        }
    }
}

/// Counts the bytes read from a file.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

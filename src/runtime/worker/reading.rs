//! The thread that reads rows ahead for the tasks of a worker: their next records are known long before
//! they are processed, and a read of RocksDB takes many times as long as processing a record otherwise.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use crate::base::{Env, Result, Thread};
use crate::state::ReadAhead;

/// The thread; it ends when this is dropped and no task has a sender any more.
pub(super) struct Reading {
    sender: Option<Sender<Arc<ReadAhead>>>,
    thread: Option<Thread>,
}

impl Reading {
    pub(super) fn start(env: &dyn Env) -> Result<Self> {
        let (sender, asked) = channel::<Arc<ReadAhead>>();
        let read = move || asked.iter().for_each(|rows| rows.read_all());
        let thread = env.spawn("marea-reader", Box::new(read))?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    pub(super) fn sender(&self) -> Option<Sender<Arc<ReadAhead>>> {
        self.sender.clone()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

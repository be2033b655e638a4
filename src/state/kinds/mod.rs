//! The kinds of stores, one file each. The interface of a kind is the trait in `kind.rs`; nothing else in
//! the library asks for the kind of a store.

mod key_value;
pub mod lru;
mod session;
mod time_ordered;
mod versioned;
mod window;

//! The kinds of stores, a file each. What a kind says about itself is the trait in `kind.rs`; nothing else in
//! the library asks which kind a store is of.

mod key_value;
pub mod lru;
mod session;
mod time_ordered;
mod versioned;
mod window;

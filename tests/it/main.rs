//! The one integration binary. Everything here runs the real program, or holds the library against
//! data and programs that others made.
#![expect(
    clippy::disallowed_methods,
    reason = "tests make and damage files, and read the clock"
)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on panics, and one that is skipped says so"
)]

mod bad_input;
mod commands;
mod hash_list;
mod help;
mod invariants;
mod ledger_damage;
mod ledger_fsck;
mod ledger_vectors;
mod ledger_writers;
mod oms_peer;
mod oms_vectors;
mod openssl;
mod published_list;
mod real_model;
mod schemas;
mod support;
mod tampering;
mod tidy;
mod tour;

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

mod acquire_https;
mod acquire_hub;
mod acquire_oci;
mod acquire_s3;
mod bad_input;
mod bucket_writers;
mod catalogue;
mod certificates;
mod commands;
mod cosigners;
mod datasets;
mod direct;
mod directories;
mod engines;
mod exec;
mod fs_verity;
mod gate_cases;
mod gate_foreign;
mod gate_ledger;
mod gate_stage;
mod hash_list;
mod hash_remote;
mod help;
mod hub;
mod hub_caches;
mod initializer;
mod invariants;
mod key_record_attacks;
mod key_records;
mod keyless;
mod keyless_signing;
mod keys;
mod kinds;
mod kits;
mod ledger_append;
mod ledger_copies;
mod ledger_damage;
mod ledger_fsck;
mod ledger_monitor;
mod ledger_schedules;
mod ledger_stores;
mod ledger_vectors;
mod ledger_writers;
mod mirror;
mod mirrored_logs;
mod oms_peer;
mod oms_vectors;
mod openssh_keys;
mod openssl;
mod parts;
mod primitives;
mod proofs;
mod published_list;
mod real_model;
mod registry;
mod rehash;
mod reports;
mod schemas;
mod servers;
mod sign_again;
mod signatures_and_policy;
mod signers;
mod store_faults;
mod support;
mod tampering;
mod tidy;
mod timestamps;
mod tlog_policy;
mod tour;
mod witness;
mod xet;

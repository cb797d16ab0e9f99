//! No tests. A build that names this file has the features that tests' own dependencies give to shared crates, without the
//! tests: see `cargo xtask test features`.

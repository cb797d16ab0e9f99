//! The device that everything runs on: which one, why, and whether it computes correctly.

pub mod device;
pub mod readback;
pub mod selftest;

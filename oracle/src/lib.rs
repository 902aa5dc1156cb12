//! The rules of port control in the slowest, most obvious way.
//!
//! [`model`] says what a policy and a caller are, and writes them as the texts
//! the product reads; [`verdict`] decides by walking over every entry for every
//! question; [`generate`] makes cases. Nothing here uses the product's code, so
//! that a mistake is not made twice.

pub mod generate;
pub mod model;
mod names;
mod settle;
mod verdict;

pub use verdict::verdict;

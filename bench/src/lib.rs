//! What a benchmark found: medians with their spread, tables of them, and how two runs
//! differ. `portreeve-tests` measures, `cargo xtask bench` shows.

pub mod compare;
pub mod results;
pub mod spread;
pub mod table;

pub use results::{Case, Machine, Results, Row, Unit};
pub use spread::Spread;

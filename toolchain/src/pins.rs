//! Every version the eBPF build depends on, in one place.
//!
//! They move together: the compiler writes LLVM bitcode, and bpf-linker reads
//! it with an LLVM of the same major version. Raising one means raising all,
//! and trying both routes (see [`crate::route`]) again.

/// The nightly that builds the eBPF object (Rust 1.97, LLVM 22.1).
pub const NIGHTLY: &str = "nightly-2026-05-20";

/// The component the nightly needs: `core` is built for the BPF target.
pub const NIGHTLY_COMPONENT: &str = "rust-src";

/// bpf-linker's version. The last series that opens the compiler's own LLVM
/// at run time; from 0.11 on it wants an LLVM to link with.
pub const BPF_LINKER: &str = "0.10.4";

/// The LLVM that compiler and linker share.
pub const LLVM_MAJOR: u32 = 22;

/// Debian's compiler for browsers, and its ready-made `core` for BPF.
pub const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// Where [`DEBIAN_PACKAGES`] put the compiler.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

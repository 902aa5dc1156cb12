//! The eBPF object that the build embedded.

/// The object's bytes, or `None` in a build for editors and lints
/// (`PORTREEVE_SKIP_EBPF`), which has none.
#[cfg(not(portreeve_no_object))]
pub fn bytes() -> Option<&'static [u8]> {
    Some(aya::include_bytes_aligned!(concat!(
        env!("OUT_DIR"),
        "/portreeve-ebpf"
    )))
}

/// The object's bytes, or `None` in a build for editors and lints
/// (`PORTREEVE_SKIP_EBPF`), which has none.
#[cfg(portreeve_no_object)]
pub const fn bytes() -> Option<&'static [u8]> {
    None
}

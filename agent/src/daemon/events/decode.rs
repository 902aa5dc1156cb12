//! From the bytes that the programs write to words.

use std::net::{Ipv4Addr, Ipv6Addr};

use nix::time::{ClockId, clock_gettime};
use portreeve_common::abi::{Hook, address_bytes};

/// A process name as bytes.
pub fn comm_bytes(comm: [u64; 2]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&comm[0].to_ne_bytes());
    bytes[8..].copy_from_slice(&comm[1].to_ne_bytes());
    bytes
}

/// A NUL-terminated name as text.
pub fn text_of(bytes: [u8; 16]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// An address in the notation of the hook's family.
pub fn address(hook: Hook, words: [u32; 4]) -> String {
    let bytes = address_bytes(words);
    if hook == Hook::Listen {
        Ipv6Addr::from(bytes).to_canonical().to_string()
    } else if hook.is_v6() {
        Ipv6Addr::from(bytes).to_string()
    } else {
        Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).to_string()
    }
}

/// Nanoseconds since boot, suspend included, as events have them.
pub fn since_boot() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |now| {
        now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
    })
}

/// Wall-clock time of what happened at this time since boot, to the microsecond.
pub fn wall_clock(boot_ns: u64) -> String {
    format!("{:.6}", moment(boot_ns))
}

/// When that was.
pub fn moment(boot_ns: u64) -> jiff::Timestamp {
    let age = since_boot().saturating_sub(boot_ns);
    let now = jiff::Timestamp::now();
    now.checked_sub(jiff::SignedDuration::from_nanos(age as i64))
        .unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use portreeve_common::abi::Event;

    use super::*;
    use crate::kernel::stream::element;

    #[test]
    fn addresses_are_written_as_their_family_does() {
        let v4 = [u32::from_ne_bytes([127, 0, 0, 1]), 0, 0, 0];
        assert_eq!(address(Hook::Bind4, v4), "127.0.0.1");
        let mapped = [0, 0, 0xffff_u32.to_be(), u32::from_ne_bytes([10, 0, 0, 1])];
        assert_eq!(address(Hook::Bind6, mapped), "::ffff:10.0.0.1");
        assert_eq!(address(Hook::Listen, mapped), "10.0.0.1");
        let one = [0, 0, 0, 1_u32.to_be()];
        assert_eq!(address(Hook::Listen, one), "::1");
    }

    #[test]
    fn only_whole_events_decode() {
        let decode = element::<Event>;
        assert!(decode(&[0; size_of::<Event>()]).is_some());
        assert!(decode(&[0; size_of::<Event>() - 1]).is_none());
        assert!(decode(&[0; size_of::<Event>() + 8]).is_none());
        assert!(decode(&[]).is_none());
    }

    #[test]
    fn fields_are_read_where_the_programs_write_them() {
        let mut bytes = [0; size_of::<Event>()];
        bytes[core::mem::offset_of!(Event, pid)..][..4].copy_from_slice(&7u32.to_ne_bytes());
        bytes[core::mem::offset_of!(Event, port)..][..2].copy_from_slice(&21u16.to_ne_bytes());
        bytes[core::mem::offset_of!(Event, line)..][..4].copy_from_slice(&9u32.to_ne_bytes());
        bytes[core::mem::offset_of!(Event, flags)] = Event::GRANTED;
        bytes[core::mem::offset_of!(Event, comm)..][..3].copy_from_slice(b"ftp");
        let event: Event = element(&bytes).unwrap();
        assert_eq!(
            (event.pid, event.port, event.line, event.flags),
            (7, 21, 9, Event::GRANTED)
        );
        assert_eq!(text_of(comm_bytes(event.comm)), "ftp");
    }
}
